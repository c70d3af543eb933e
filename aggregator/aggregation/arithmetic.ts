import { readKernelBinaries } from "../../runtime/platform/node-kernels.js";
import { compileKernels, instantiateKernels } from "../../runtime/wasm/load.js";
import { ownHeap } from "../../runtime/wasm/own-heap.js";

/**
 * The two loops of a fold, and the memory they run on. `plain` below is the readable form and the
 * reference of the tests; the WebAssembly form gives the same bits, since a float32 times a weight
 * below 2^29 is exact in float64.
 */
export interface Arithmetic {
  /** Which kernels work here; stands in the fold and in the run's records. */
  readonly build: string;
  /** So many vectors of zeros; what `sums` gave before is void. */
  sums(size: number, count: number): Float64Array[];
  /** sum[i] += (weight x[i] + c) - c */
  fold(sum: Float64Array, x: Float32Array, weight: number, c: number): void;
  /** How many elements of x are not finite or larger than maxAbs in size. */
  outOfRange(x: Float32Array, maxAbs: number): number;
  squaredNorm(x: Float32Array): number;
}

export const plain: Arithmetic = {
  build: "plain",
  sums: (size, count) => Array.from({ length: count }, () => new Float64Array(size)),
  fold(sum, x, weight, c) {
    for (let i = 0; i < x.length; i++) sum[i] += weight * x[i] + c - c;
  },
  outOfRange(x, maxAbs) {
    let count = 0;
    // NaN is not smaller than anything.
    for (let i = 0; i < x.length; i++) if (!(Math.abs(x[i]) <= maxAbs)) count++;
    return count;
  },
  squaredNorm(x) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
    return sum;
  },
};

/** Numbers that are looked at or added in one go: 256 KB of float32. */
const SLICE = 65536;

/** The same with the kernels of fold.ts, on a memory of its own. */
export async function wasmArithmetic(): Promise<Arithmetic> {
  // Always the same build, for what this engine takes may change while the process runs; a fold has
  // no multiply-add to fuse.
  const compiled = await compileKernels(readKernelBinaries(), "simd");
  const heap = ownHeap(4 * SLICE);
  const kernels = await instantiateKernels(compiled, heap.memory);
  const slice = heap.allocate(4 * SLICE);
  let taken: number[] = [];

  /** Puts the numbers at `slice`, as many at a time as fit. */
  function inSlices(x: Float32Array, work: (start: number, size: number) => void): void {
    for (let start = 0; start < x.length; start += SLICE) {
      const part = x.subarray(start, start + SLICE);
      new Float32Array(heap.memory.buffer, slice, part.length).set(part);
      work(start, part.length);
    }
  }

  return {
    build: compiled.build,
    sums(size, count) {
      taken.forEach(heap.free);
      // All first, then the views: a memory that grows leaves older views empty.
      taken = Array.from({ length: count }, () => heap.allocate(8 * size));
      return taken.map((address) => new Float64Array(heap.memory.buffer, address, size).fill(0));
    },
    fold(sum, x, weight, c) {
      if (sum.buffer !== heap.memory.buffer) return plain.fold(sum, x, weight, c);
      inSlices(x, (start, size) =>
        kernels.foldFloat32(sum.byteOffset + 8 * start, slice, size, weight, c),
      );
    },
    outOfRange(x, maxAbs) {
      let count = 0;
      inSlices(x, (_, size) => {
        count += kernels.checkRange(slice, size, maxAbs);
      });
      return count;
    },
    squaredNorm(x) {
      let sum = 0;
      inSlices(x, (_, size) => {
        sum += kernels.squaredNorm(slice, size);
      });
      return sum;
    },
  };
}
