import { readFileSync } from "node:fs";
import type { KernelBinaries } from "../wasm/load.js";

/** The builds of the kernel module, which lie beside the compiled runtime/wasm/. */
export function readKernelBinaries(): KernelBinaries {
  // The bundle finds the files by exactly this form of a URL.
  return {
    simd: readFileSync(new URL("../wasm/kernels.simd.wasm", import.meta.url)),
    relaxed: readFileSync(
      new URL("../wasm/kernels.relaxed.wasm", import.meta.url),
    ),
  };
}
