import { parentPort } from "node:worker_threads";
import { engineOn } from "../../runtime/training/engine.js";
import { serveJobs } from "../../runtime/training/worker.js";
import type { Port } from "../../runtime/worker-rpc.js";
import { openKernels } from "./engines.js";

// A worker whose kernels trap: one of them is sent to an address behind the end of the memory.
const port: Port = { post: (message) => parentPort!.postMessage(message) };
serveJobs(port, async () => {
  const { kernels, heap } = await openKernels("simd");
  const trap = () => kernels.axpy(heap.memory.buffer.byteLength, 0, 1, 0);
  return engineOn({ ...kernels, maxPool: trap }, heap);
});
parentPort!.on("message", (message) => port.onMessage?.(message));
