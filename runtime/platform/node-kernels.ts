import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import type { KernelBinaries } from "../wasm/load.js";

/**
 * Lets Node 20 compile the relaxed build, with a switch of V8's that holds for the whole process.
 * Later versions do so anyway, and have no such switch.
 */
export function allowRelaxedSimd(): void {
  if (process.version.startsWith("v20.")) setFlagsFromString("--experimental-wasm-relaxed-simd");
}

/** The builds of the kernel module, which lie beside the compiled runtime/wasm/. */
export function readKernelBinaries(): KernelBinaries {
  // The bundle finds the files by exactly this form of a URL.
  return {
    simd: readFileSync(new URL("../wasm/kernels.simd.wasm", import.meta.url)),
    relaxed: readFileSync(new URL("../wasm/kernels.relaxed.wasm", import.meta.url)),
  };
}
