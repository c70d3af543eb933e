import type { KernelBinaries } from "../wasm/load.js";
import { fetchKernels } from "./fetch-kernels.js";

/**
 * Where the builds of the kernel module are: beside the compiled runtime/wasm/, or where a bundler
 * has put them, which finds the files by exactly this form of a URL.
 */
export const kernelUrls = {
  simd: new URL("../wasm/kernels.simd.wasm", import.meta.url).href,
  relaxed: new URL("../wasm/kernels.relaxed.wasm", import.meta.url).href,
};

/** The builds of the kernel module, fetched. */
export const readKernelBinaries = (): Promise<KernelBinaries> => fetchKernels(kernelUrls);
