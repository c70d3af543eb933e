import { ModelError } from "../../errors.js";

const number = new Float64Array(1);
const words = new Uint32Array(number.buffer);

/** floor(log2 x) of a positive number that is normal in float64. */
export function exponentOf(x: number): number {
  number[0] = x;
  return ((words[1] >>> 20) & 0x7ff) - 1023;
}

/**
 * A positive number rounded to eight significant bits and to a multiple of the grid, in one rounding to the coarser of the two steps; 0
 * below 2^-100. A bfloat16 holds it, and a whole number of up to seven bits times it is a float32.
 * @param round to a whole number
 */
export function scaleOf(x: number, grid: number, round: (steps: number) => number): number {
  if (x < 2 ** -100) return 0;
  const step = Math.max(2 ** (exponentOf(x) - 7), grid);
  return round(x / step) * step;
}

/** The nearest whole number, ties to even, of one below 2^51 in size. */
export const nearest = (x: number): number => x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

/** The bits of a bfloat16, which has to hold the number. */
export function bitsOfScale(scale: number): number {
  single[0] = scale;
  return bits[0] >>> 16;
}

/** @throws ModelError `layout` for a scale that is negative, not finite or no multiple of the grid. */
export function readScale(half: number, grid = 0): number {
  bits[0] = half << 16;
  const [scale] = single;
  if (half >= 0x7f80 || (grid > 0 && scale % grid !== 0))
    throw new ModelError(
      "layout",
      `"scale" expected 0 or more, finite${grid > 0 ? ` and a multiple of ${grid}` : ""}, got ${scale}`,
    );
  return scale;
}
