import { ConfigError } from "../errors.js";
import type { KernelBinaries } from "../wasm/load.js";

async function read(url: URL): Promise<ArrayBuffer> {
  const response = await fetch(url);
  if (!response.ok)
    throw new ConfigError(
      "kernels-missing",
      `"${url.href}" expected our kernels, got HTTP ${response.status}: serve the .wasm files beside the JavaScript`,
    );
  return response.arrayBuffer();
}

/** The builds of the kernel module, fetched from beside the compiled runtime/wasm/. */
export async function readKernelBinaries(): Promise<KernelBinaries> {
  // Bundlers find the files by exactly this form of a URL.
  const [simd, relaxed] = await Promise.all([
    read(new URL("../wasm/kernels.simd.wasm", import.meta.url)),
    read(new URL("../wasm/kernels.relaxed.wasm", import.meta.url)),
  ]);
  return { simd, relaxed };
}
