import { compileKernels, instantiateKernels } from "../wasm/load.js";
import type { KernelBinaries } from "../wasm/load.js";
import { tfjsHeap } from "../wasm/tfjs-heap.js";
import { engineOn, type Engine } from "./engine.js";

/**
 * A worker's engine: our kernels on tfjs-wasm's memory.
 * @throws ConfigError where kernels or tfjs do not start.
 */
export async function startEngine(
  binaries: KernelBinaries | Promise<KernelBinaries>,
): Promise<Engine> {
  const [compiled, heap] = await Promise.all([
    Promise.resolve(binaries).then((bytes) => compileKernels(bytes)),
    tfjsHeap(),
  ]);
  return engineOn(instantiateKernels(compiled, heap.memory), heap);
}
