import { parentPort } from "node:worker_threads";
import { serveJobs } from "../../runtime/training/worker.js";
import type { Port } from "../../runtime/worker-rpc.js";

// A worker without an engine.
const port: Port = { post: (message) => parentPort!.postMessage(message) };
serveJobs(port, async () => {
  throw new Error("its engine never starts");
});
parentPort!.on("message", (message) => port.onMessage?.(message));
