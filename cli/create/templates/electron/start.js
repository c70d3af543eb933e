// The whole federation on this machine: the aggregator in this process, the app, and one neighbour
// in Node, so that a single app need not wait for another.
import { spawn } from "node:child_process";
import electron from "electron"; // in Node: the path of its binary
import { url } from "./aggregator.js";

const start = (program, file, name) =>
  spawn(program, [file], {
    env: { ...process.env, FEDFLAT_URL: url, FEDFLAT_NAME: name },
    stdio: "inherit",
  });
const neighbour = start(process.execPath, "client.js", "neighbour");
const app = start(electron, ".", "app");
// Ctrl-C reaches them by itself; a service that is stopped tells this process only.
process.once("SIGTERM", () => [neighbour, app].forEach((child) => child.kill()));
// Without the app the rest ends as if it was told to, the aggregator's run too; once is enough.
app.on("exit", () => process.emit("SIGTERM"));
