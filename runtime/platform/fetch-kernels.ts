import { ConfigError } from "../errors.js";
import type { KernelBinaries } from "../wasm/load.js";

async function read(url: string): Promise<ArrayBuffer> {
  const fail = (got: string): never => {
    throw new ConfigError(
      "kernels-missing",
      `"${url}" expected our kernels, got ${got}: serve the .wasm files beside the JavaScript`,
    );
  };
  const response = await fetch(url).catch((error: unknown) => fail(String(error)));
  return response.ok ? response.arrayBuffer() : fail(`HTTP ${response.status}`);
}

/** The builds of the kernel module from these addresses. @throws ConfigError `kernels-missing`. */
export async function fetchKernels(
  urls: Readonly<Record<keyof KernelBinaries, string>>,
): Promise<KernelBinaries> {
  const [simd, relaxed] = await Promise.all([read(urls.simd), read(urls.relaxed)]);
  return { simd, relaxed };
}
