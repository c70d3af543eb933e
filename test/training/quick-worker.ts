import { parentPort } from "node:worker_threads";
import { readKernelBinaries } from "../../runtime/platform/node-kernels.js";
import { startEngine } from "../../runtime/training/start-engine.js";
import { serveJobs } from "../../runtime/training/worker.js";
import type { Port } from "../../runtime/worker-rpc.js";

// The training worker, with a clock for its snapshots that goes a thousand times faster.
const port: Port = {
  post: (message, transfer = []) => parentPort!.postMessage(message, transfer),
};
serveJobs(
  port,
  () => startEngine(readKernelBinaries()),
  () => 1000 * performance.now(),
);
parentPort!.on("message", (message) => port.onMessage?.(message));
