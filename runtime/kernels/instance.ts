import { readKernelBinaries } from "#kernel-binaries";
import type { Heap, KernelBuild, Kernels } from "../wasm/kernels.js";
import { SCRATCH_BYTES } from "../wasm/kernels.js";
import { compileKernels, instantiateKernels } from "../wasm/load.js";
import { WINDOW_WORDS } from "../wasm/window.js";
import { checkedBackend, type WasmBackend } from "../wasm/tfjs-check.js";
import { heapOf } from "../wasm/tfjs-heap.js";

/** Our module on the memory of one tfjs-wasm backend. */
interface Lent {
  readonly backend: WasmBackend;
  readonly heap: Heap;
  readonly kernels: Kernels;
  readonly scratch: number;
  /** Room for the window of one call. */
  readonly window: number;
  readonly build: KernelBuild;
}

// Compiled while the module graph loads: a kernel that tfjs calls cannot wait.
const compiled = await compileKernels(await readKernelBinaries());

const lent = new WeakMap<object, Lent>();

/**
 * Our kernels on this backend, instantiated at its first call.
 * @throws ConfigError as `checkedBackend`.
 */
export function lentBy(backend: object): Lent {
  const found = lent.get(backend);
  if (found !== undefined) return found;
  const checked = checkedBackend(backend);
  const heap = heapOf(checked);
  const made: Lent = {
    backend: checked,
    heap,
    kernels: instantiateKernels(compiled, heap.memory),
    scratch: heap.allocate(SCRATCH_BYTES),
    window: heap.allocate(4 * WINDOW_WORDS),
    build: compiled.build,
  };
  lent.set(backend, made);
  return made;
}
