import { parentPort } from "node:worker_threads";
import { engineOn } from "../training/engine.js";
import { serveJobs, type HostPort } from "../training/worker.js";
import { compileKernels, instantiateKernels } from "../wasm/load.js";
import { tfjsHeap } from "../wasm/tfjs-heap.js";
import { readKernelBinaries } from "./node-kernels.js";

// The training worker's entry in Node: our kernels on tfjs-wasm's memory.

const host = parentPort!;
const port: HostPort = {
  post: (message, transfer = []) => host.postMessage(message, transfer),
};
serveJobs(port, async () => {
  const compiling = compileKernels(readKernelBinaries());
  const heap = await tfjsHeap();
  return engineOn(await instantiateKernels(await compiling, heap.memory), heap);
});
host.on("message", (message: unknown) => port.onMessage?.(message));
