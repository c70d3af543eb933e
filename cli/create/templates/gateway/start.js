// The whole federation on this machine: the aggregator in this process, and two gateways.
import { spawn } from "node:child_process";
import { url } from "./aggregator.js";

for (const name of ["attic", "cellar"])
  spawn(process.execPath, ["client.js"], {
    env: { ...process.env, FEDFLAT_URL: url, FEDFLAT_NAME: name },
    stdio: "inherit",
  });
