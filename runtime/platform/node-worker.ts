import { parentPort } from "node:worker_threads";
import { startEngine } from "../training/start-engine.js";
import { serveJobs } from "../training/worker.js";
import type { Port } from "../worker-rpc.js";
import { readKernelBinaries } from "./node-kernels.js";

// The training worker's entry in Node.

const host = parentPort!;
const port: Port = {
  post: (message, transfer = []) => host.postMessage(message, transfer),
};
serveJobs(port, async () => startEngine(readKernelBinaries()));
host.on("message", (message: unknown) => port.onMessage?.(message));
