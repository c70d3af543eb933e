import { readFileSync } from "node:fs";
import type { KernelBinaries } from "../wasm/load.js";

/** The builds of the kernel module, which lie beside the compiled runtime/wasm/. */
export function readKernelBinaries(): KernelBinaries {
  const read = (name: string) =>
    readFileSync(new URL(`../wasm/kernels.${name}.wasm`, import.meta.url));
  return { simd: read("simd"), relaxed: read("relaxed") };
}
