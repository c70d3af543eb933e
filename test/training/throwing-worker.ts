import { parentPort } from "node:worker_threads";

// A worker that ends by an error of its own as soon as it is given anything.
parentPort!.on("message", () => {
  throw new Error("thrown on purpose");
});
