import { parentPort } from "node:worker_threads";

// A worker that is ready, and ends by an error of its own as soon as it is given anything.
parentPort!.postMessage({ type: "ready" });
parentPort!.on("message", () => {
  throw new Error("thrown on purpose");
});
