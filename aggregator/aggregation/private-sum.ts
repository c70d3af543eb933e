import type { Vectors } from "../../runtime/tensors/blob.js";
import { plain } from "./arithmetic.js";
import { discreteGaussian, systemChance, type Chance } from "./discrete-gaussian.js";

// The sum of clipped updates with noise, in whole steps of a grid: sum and noise are integers, so
// every value has the same outcomes, and no low bit gives one away (Mironov 2012; Canonne et al.
// 2020, The Discrete Gaussian for Differential Privacy).

/** How a sum is protected. */
export interface Protection {
  /** By what the sum is divided, however many updates came. */
  readonly divisor: number;
  /** Deviation of the noise over `clip`. */
  readonly noise: number;
  /** The most that a client's update may be long, all of its vectors as one. */
  readonly clip: number;
}

/** Bits of the noise's deviation in steps of the grid, at least. */
const BITS = 20;

/**
 * The step of the grid: the power of two at which the noise's deviation is 2^20 to 2^21 steps, so
 * that the account of the continuous Gaussian holds and the sampler's integers stay below 2^53.
 */
export const gridFor = ({ noise, clip }: Omit<Protection, "divisor">): number =>
  2 ** (Math.floor(Math.log2(noise * clip)) - BITS);

/**
 * Of the noise, in steps of the grid. The 1 covers what a clip loses to rounding.
 */
export const deviationFor = ({ noise, clip }: Omit<Protection, "divisor">): number =>
  Math.ceil((noise * clip) / gridFor({ noise, clip })) + 1;

/**
 * An update with all its vectors, as one, scaled to a norm of at most `clip`, in whole steps of the
 * grid. Truncated toward 0, since rounding to the nearest could lengthen it.
 */
export function clippedToGrid(
  vectors: Vectors,
  clip: number,
  grid: number,
): Readonly<Record<string, Float64Array>> {
  const squares = Object.values(vectors).map((values) => plain.squaredNorm(values));
  const norm = Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
  const share = norm > clip ? clip / norm : 1;
  return Object.fromEntries(
    Object.entries(vectors).map(([name, values]) => [
      name,
      Float64Array.from(values, (x) => Math.trunc((x * share) / grid)),
    ]),
  );
}

/** Adds an update in steps of the grid to sums of them, in place: whole numbers, so exactly. */
export function addInSteps(
  sums: Readonly<Record<string, Float64Array>>,
  update: Readonly<Record<string, Float64Array>>,
): void {
  for (const [name, sum] of Object.entries(sums)) {
    const steps = update[name];
    for (let i = 0; i < sum.length; i++) sum[i] += steps[i];
  }
}

/**
 * The sums with noise, in their own unit. Draws all of the noise before anything is done with it.
 * @param chance where not given the operating system's, which nobody can repeat
 */
export function withNoise(
  sums: Readonly<Record<string, Float64Array>>,
  protection: Omit<Protection, "divisor">,
  chance: Chance = systemChance(),
): Record<string, Float64Array> {
  const deviation = deviationFor(protection);
  const grid = gridFor(protection);
  return Object.fromEntries(
    Object.entries(sums).map(([name, sum]) => {
      const noise = Float64Array.from(sum, () => discreteGaussian(deviation, chance));
      return [name, sum.map((steps, i) => (steps + noise[i]) * grid)];
    }),
  );
}
