import type { Vector } from "../tensors/layout.js";
import { take } from "../tensors/memory.js";

/**
 * The next model: to(w_i, i) for each weight, rounded to float32 once, in memory of the system's
 * own.
 */
export function moved(global: Vector, to: (weight: number, i: number) => number): Vector {
  const next = new Float32Array(take(global.byteLength), 0, global.length);
  for (let i = 0; i < next.length; i++) next[i] = to(global[i], i);
  return next;
}

/**
 * sum_j coefficients[j] vectors[j], element by element, rounded to float32 once. All vectors have
 * one length.
 */
export function combine(
  ...terms: readonly (readonly [coefficient: number, vector: Vector | Float64Array])[]
): Vector {
  const result = new Float32Array(terms[0][1].length);
  for (let i = 0; i < result.length; i++) {
    let sum = 0;
    for (const [coefficient, vector] of terms) sum += coefficient * vector[i];
    result[i] = sum;
  }
  return result;
}

/**
 * sum + vector in float64: exact where both are multiples of one grid, and the result is below 2^53
 * steps of it.
 */
export const plus = (sum: Float64Array, vector: Vector | Float64Array): Float64Array =>
  sum.map((x, i) => x + vector[i]);

/**
 * Each number rounded to the nearest multiple of `grid`, a power of two, ties to even. A float32
 * stays a float32: one of 2^24 steps and more is a multiple already.
 */
export function onGrid(vector: Vector, grid: number): Vector {
  // Added to this, a number loses all bits below the grid (as in the aggregator's fold).
  const shift = 1.5 * 2 ** 52 * grid;
  return vector.map((x) => x + shift - shift);
}
