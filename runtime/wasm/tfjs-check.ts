import { version_core, type DataId, type DataType, type TensorInfo } from "@tensorflow/tfjs-core";
import { ConfigError } from "../errors.js";

// Proves the tfjs at hand to be one that we can build on. Our own bundles have the tfjs that they
// were made and tested with, so they go without (bundle.mjs).

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
