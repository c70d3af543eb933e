import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { startEngine } from "../training/start-engine.js";
import { serveJobs } from "../training/worker.js";
import type { Port } from "../worker-rpc.js";
import { fetchKernels } from "./fetch-kernels.js";
import type { WorkerFiles } from "./browser.js";

// The training worker's entry in a browser. It is bundled into one classic script that knows no
// addresses: bundlers, development servers and plain pages can all serve it as it is.

/**
 * The part of a worker's global scope that is used; the library of types at hand knows only a
 * page's.
 */
interface WorkerScope {
  postMessage(message: unknown, transfer: readonly ArrayBuffer[]): void;
  onmessage: (event: { data: unknown }) => void;
}

const host = globalThis as unknown as WorkerScope;
const port: Port = {
  post: (message, transfer = []) => host.postMessage(message, transfer),
};
// The first message says where the files are; platform/browser.ts sends it.
host.onmessage = ({ data }) => {
  const { kernels, tfjs } = data as WorkerFiles;
  // Engines without SIMD cannot run our kernels anyway.
  setWasmPaths({
    "tfjs-backend-wasm.wasm": tfjs,
    "tfjs-backend-wasm-simd.wasm": tfjs,
    "tfjs-backend-wasm-threaded-simd.wasm": tfjs,
  });
  serveJobs(port, () => startEngine(fetchKernels(kernels)));
  host.onmessage = ({ data }) => port.onMessage?.(data);
};
