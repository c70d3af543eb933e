import "@tensorflow/tfjs-backend-wasm";
import {
  backend,
  env,
  setBackend,
  version_core,
  type DataId,
  type DataType,
  type TensorInfo,
} from "@tensorflow/tfjs-core";
import { ConfigError } from "../errors.js";
import { elements } from "../tensors/shape.js";
import type { Heap } from "./kernels.js";

/** The tfjs versions whose private fields this file has been tested with. */
const SUPPORTED = "~4.22.0";

/**
 * The part of tfjs's `BackendWasm` that zero copy rests on. Most of it is private to tfjs;
 * `checkedBackend` proves that it is there and means what we think before anything is built on it.
 */
export interface WasmBackend {
  readonly wasm: {
    readonly asm: { readonly memory: WebAssembly.Memory };
    readonly tfjs: {
      registerTensor(id: number, size: number, address: number): void;
      disposeData(id: number): void;
    };
    _malloc(bytes: number): number;
    _free(address: number): void;
  };
  readonly dataIdMap: {
    get(dataId: DataId): { id: number; memoryOffset: number };
  };
  makeOutput(shape: readonly number[], dtype: DataType): TensorInfo;
  write(values: Float32Array, shape: number[], dtype: DataType): DataId;
  disposeData(dataId: DataId): boolean;
}

const KINDS: Record<string, string> = {
  "wasm.asm.memory": "a WebAssembly.Memory",
  "wasm._malloc": "a function",
  "wasm._free": "a function",
  "wasm.tfjs.registerTensor": "a function",
  "wasm.tfjs.disposeData": "a function",
  "dataIdMap.get": "a function",
  makeOutput: "a function",
  write: "a function",
  disposeData: "a function",
};

function mismatch(field: string, expected: string, got: string): ConfigError {
  return new ConfigError(
    "tfjs-version",
    `"tf.backend().${field}" expected ${expected}, got ${got} in @tensorflow/tfjs-core ${version_core}; fedflat supports ${SUPPORTED}`,
  );
}

const checked = new WeakSet<object>();

/**
 * The tfjs-wasm backend with every private field that we use proven to be there.
 * @throws ConfigError `tfjs-version` naming the field that differs and the tfjs version found,
 * `tfjs-threads` where tfjs runs its threaded build, whose shared memory our kernels cannot import.
 */
export function checkedBackend(candidate: unknown): WasmBackend {
  const found = candidate as WasmBackend;
  if (checked.has(found)) return found;
  if (found?.wasm && "PThread" in found.wasm)
    throw new ConfigError(
      "tfjs-threads",
      `"WASM_HAS_MULTITHREAD_SUPPORT" expected false, got true: call tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false) before tf.setBackend("wasm")`,
    );
  for (const [field, expected] of Object.entries(KINDS)) {
    const value = field
      .split(".")
      .reduce<unknown>(
        (object, key) => (object as Record<string, unknown> | null)?.[key],
        candidate,
      );
    const right =
      expected === "a function" ? typeof value === "function" : value instanceof WebAssembly.Memory;
    if (!right) throw mismatch(field, expected, typeof value);
  }
  const { memory } = found.wasm.asm;
  const probe = Float32Array.of(1.5, -2.5, 3.5);
  const dataId = found.write(probe, [3], "float32");
  const { id, memoryOffset } = found.dataIdMap.get(dataId);
  const readable =
    Number.isInteger(id) &&
    Number.isInteger(memoryOffset) &&
    memoryOffset + probe.byteLength <= memory.buffer.byteLength &&
    new Float32Array(memory.buffer, memoryOffset, 3).join() === probe.join();
  found.disposeData(dataId);
  if (!readable)
    throw mismatch(
      "dataIdMap.get(id).memoryOffset",
      "the address of the tensor's elements",
      String(memoryOffset),
    );
  checked.add(found);
  return found;
}

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
      `"tf.setBackend" expected the wasm backend to start, got none: is tfjs-backend-wasm-simd.wasm beside its JavaScript?`,
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
