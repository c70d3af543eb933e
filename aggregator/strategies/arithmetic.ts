/**
 * The two loops of a fold, and the memory they run on. `plain` below is the readable form and the reference of the tests;
 * the WebAssembly form gives the same bits, since a float32 times a weight below 2^29 is exact in float64.
 */
export interface Arithmetic {
  /** Which kernels work here; stands in the fold and in the run's records. */
  readonly build: string;
  /** A vector of zeros on which `fold` may be called. */
  sums(size: number): Float64Array;
  /** Gives the memory of all `sums` back. */
  release(): void;
  /** sum[i] += (weight x[i] + c) - c */
  fold(sum: Float64Array, x: Float32Array, weight: number, c: number): void;
  /** How many elements of x are not finite or larger than maxAbs in size. */
  outOfRange(x: Float32Array, maxAbs: number): number;
}

export const plain: Arithmetic = {
  build: "plain",
  sums: (size) => new Float64Array(size),
  release() {},
  fold(sum, x, weight, c) {
    for (let i = 0; i < x.length; i++) sum[i] += weight * x[i] + c - c;
  },
  outOfRange(x, maxAbs) {
    let count = 0;
    // NaN is not smaller than anything.
    for (let i = 0; i < x.length; i++) if (!(Math.abs(x[i]) <= maxAbs)) count++;
    return count;
  },
};
