import assert from "node:assert/strict";
import { random } from "../../runtime/tensors/random.js";
import { allowRelaxedSimd, readKernelBinaries } from "../../runtime/platform/node-kernels.js";
import { SCRATCH_BYTES, type KernelBuild, type Kernels } from "../../runtime/wasm/kernels.js";
import { compileKernels, instantiateKernels } from "../../runtime/wasm/load.js";
import { ownHeap } from "../../runtime/wasm/own-heap.js";

allowRelaxedSimd();

export const BUILDS: readonly KernelBuild[] = ["simd", "relaxed"];

const SENTINELS = 8;
const SENTINEL = 0x5ea1ed;

type Numbers = Float32Array | Float64Array | Int32Array | Uint16Array | Int8Array;

/** A tensor in wasm memory between two rows of sentinels. */
export interface Buffer<T extends Numbers> {
  readonly address: number;
  /** A copy of what it holds now. */
  read(): T;
}

export interface Lab {
  readonly kernels: Kernels;
  readonly scratch: number;
  put<T extends Numbers>(values: T): Buffer<T>;
  /** A buffer of floats for a result, full of NaN. */
  room(size: number): Buffer<Float32Array>;
  /** Fails if anything was written outside a buffer, then gives all buffers back. */
  close(): void;
}

/** Opens one build on a memory of its own. */
export async function openLab(build: KernelBuild): Promise<Lab> {
  const heap = ownHeap(SCRATCH_BYTES);
  const kernels = instantiateKernels(
    await compileKernels(readKernelBinaries(), build),
    heap.memory,
  );
  const scratch = heap.allocate(SCRATCH_BYTES);
  let open: { start: number; from: number; to: number }[] = [];

  const guards = ({ from, to }: { from: number; to: number }) => [
    new Uint8Array(heap.memory.buffer, from - 4 * SENTINELS, 4 * SENTINELS),
    new Uint8Array(heap.memory.buffer, to, 4 * SENTINELS),
  ];
  const pattern = new Uint8Array(new Uint32Array(SENTINELS).fill(SENTINEL).buffer);

  function put<T extends Numbers>(values: T): Buffer<T> {
    // Not always a multiple of 16: tfjs gives out addresses that are multiples of 8.
    const shift = open.length % 2 === 0 || values instanceof Float64Array ? 0 : 8;
    const bytes = values.byteLength;
    const start = heap.allocate(bytes + 8 * SENTINELS + 16);
    const from = start + 4 * SENTINELS + shift;
    const buffer = { start, from, to: from + bytes };
    new Uint8Array(heap.memory.buffer, from, bytes).set(
      new Uint8Array(values.buffer, values.byteOffset, bytes),
    );
    for (const guard of guards(buffer)) guard.set(pattern);
    open.push(buffer);
    const Kind = values.constructor as new (b: ArrayBuffer, at: number, n: number) => T;
    return {
      address: from,
      read: () => new Kind(heap.memory.buffer, from, values.length).slice() as T,
    };
  }

  return {
    kernels,
    scratch,
    put,
    room: (size) => put(new Float32Array(size).fill(NaN)),
    close() {
      const closing = open;
      open = [];
      for (const [index, buffer] of closing.entries()) {
        const [before, after] = guards(buffer);
        assert.deepEqual(before, pattern, `written before buffer ${index}`);
        assert.deepEqual(after, pattern, `written behind buffer ${index}`);
        heap.free(buffer.start);
      }
    },
  };
}

/** `size` floats in [-1, 1), the same for the same seed. */
export function noise(size: number, seed: number): Float32Array {
  const { next } = random("noise", seed);
  return Float32Array.from({ length: size }, () => 2 * next() - 1);
}

/** Largest difference at most `tolerance` times the largest expected value (or 1). NaN fails. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  assert.equal(actual.length, expected.length, what);
  let scale = 1;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]));
  for (let i = 0; i < expected.length; i++)
    if (!(Math.abs(actual[i] - expected[i]) <= tolerance * scale))
      assert.fail(`${what}: at ${i} expected ${expected[i]}, got ${actual[i]}`);
}
