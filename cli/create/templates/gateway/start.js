// The whole federation on this machine: the aggregator in this process, and two gateways.
import { spawn } from "node:child_process";
import { url } from "./aggregator.js";

const gateways = ["attic", "cellar"].map((name) =>
  spawn(process.execPath, ["client.js"], {
    env: { ...process.env, FEDFLAT_URL: url, FEDFLAT_NAME: name },
    stdio: "inherit",
  }),
);
// Ctrl-C reaches them by itself; a service that is stopped tells this process only.
process.once("SIGTERM", () => gateways.forEach((gateway) => gateway.kill()));
