import "@tensorflow/tfjs-backend-wasm";
import { backend, env, setBackend, type TensorInfo } from "@tensorflow/tfjs-core";
import { ConfigError } from "../errors.js";
import { elements } from "../tensors/shape.js";
import type { Heap } from "./kernels.js";
import { checkedBackend, type WasmBackend } from "./tfjs-check.js";

/**
 * Our kernels' way to tfjs-wasm's memory. Addresses are 16-byte aligned, which tfjs's own `_malloc`
 * does not promise.
 */
export function heapOf({ wasm }: WasmBackend): Heap {
  const blocks = new Map<number, number>();
  return {
    memory: wasm.asm.memory,
    allocate(bytes) {
      // _malloc and _free count in signed 32 bits: above 2 GB the address comes back negative.
      const block = wasm._malloc(bytes + 16) >>> 0;
      // Near 4 GB its arithmetic wraps round and it answers with a block that is too small
      // (checked).
      const fits = block + bytes + 16 <= wasm.asm.memory.buffer.byteLength;
      if (block !== 0 && !fits) wasm._free(block);
      if (block === 0 || !fits)
        throw new RangeError(
          `"allocate" expected room for ${bytes} bytes in tfjs-wasm's memory, got none (${wasm.asm.memory.buffer.byteLength} in use)`,
        );
      const address = Math.ceil(block / 16) * 16;
      blocks.set(address, block);
      return address;
    },
    free(address) {
      const block = blocks.get(address);
      if (block === undefined)
        throw new RangeError(`"free" expected an address that this heap allocated, got ${address}`);
      blocks.delete(address);
      wasm._free(block);
    },
  };
}

/**
 * Starts tfjs's wasm backend and makes it tfjs's active one.
 * @throws ConfigError `tfjs-start` where it does not start, and as `checkedBackend`.
 */
export async function startedBackend(): Promise<WasmBackend> {
  env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  if (!(await setBackend("wasm")))
    throw new ConfigError(
      "tfjs-start",
      `"tf.setBackend" expected the wasm backend to start, got none: serve the .wasm files beside the JavaScript, and allow 'wasm-unsafe-eval' in a page's script-src`,
    );
  return checkedBackend(backend());
}

/**
 * Starts tfjs's wasm backend and lends its memory to our kernels: what they write, tfjs reads without a copy. Meant for a
 * worker of our own, because loading tfjs-wasm adds listeners for uncaught errors to its thread.
 * @throws ConfigError as `startedBackend`.
 */
export async function tfjsHeap(): Promise<Heap> {
  return heapOf(await startedBackend());
}

/**
 * Tells tfjs-wasm that a tensor's elements were changed in place. XNNPACK keeps packed copies of
 * weights per tensor, and keeps using the old values (in depthwise, dilated and other kernels
 * that are not ours) until it is told.
 */
export function changedInPlace(
  tensor: Pick<TensorInfo, "dataId" | "shape">,
  on: WasmBackend = checkedBackend(backend()),
): void {
  const { id, memoryOffset } = on.dataIdMap.get(tensor.dataId);
  const size = elements(tensor.shape);
  on.wasm.tfjs.disposeData(id);
  on.wasm.tfjs.registerTensor(id, size, memoryOffset);
}
