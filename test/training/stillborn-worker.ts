import { parentPort } from "node:worker_threads";
import { serveJobs, type HostPort } from "../../runtime/training/worker.js";

// A worker without an engine.
const port: HostPort = { post: (message) => parentPort!.postMessage(message) };
serveJobs(port, async () => {
  throw new Error("its engine never starts");
});
parentPort!.on("message", (message) => port.onMessage?.(message));
