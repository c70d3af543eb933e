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
app.on("exit", () => {
  neighbour.kill();
  process.kill(process.pid, "SIGTERM"); // the aggregator ends its run
});
