import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { startEngine } from "../training/start-engine.js";
import { serveJobs, type HostPort } from "../training/worker.js";
import { readKernelBinaries } from "./browser-kernels.js";

// The training worker's entry in a browser.

// Our own copy of tfjs's backend, named as bundlers find files. Engines without SIMD cannot run our
// kernels anyway.
const tfjs = new URL("../../tfjs-backend-wasm-simd.wasm", import.meta.url).href;
setWasmPaths({
  "tfjs-backend-wasm.wasm": tfjs,
  "tfjs-backend-wasm-simd.wasm": tfjs,
  "tfjs-backend-wasm-threaded-simd.wasm": tfjs,
});

/**
 * The part of a worker's global scope that is used; the library of types at hand knows only a
 * page's.
 */
interface WorkerScope {
  postMessage(message: unknown, transfer: readonly ArrayBuffer[]): void;
  onmessage: (event: { data: unknown }) => void;
}

const host = globalThis as unknown as WorkerScope;
const port: HostPort = {
  post: (message, transfer = []) => host.postMessage(message, transfer),
};
serveJobs(port, async () => startEngine(readKernelBinaries()));
host.onmessage = ({ data }) => port.onMessage?.(data);
