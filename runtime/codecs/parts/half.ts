import { ModelError } from "../../errors.js";
import type { Layout, Vector } from "../../tensors/layout.js";
import { exponentOf } from "./scale.js";

/** Exponents that a float32's numbers may need: of the smallest half that is used, and the largest. */
const LEAST = -120;
const MOST = 113;

/**
 * Writes a vector as halves, those of each parameter times 2^E, E such that its largest number lies
 * in the highest binade: a delta of 1e-5 would otherwise lose digits.
 */
export function toHalves(
  { parameters }: Layout,
  vector: Vector,
  exponents: Int16Array,
  halves: Uint16Array,
): void {
  const scaled = new Float32Array(1);
  const bits = new Uint32Array(scaled.buffer);
  parameters.forEach(({ offset, size }, p) => {
    const end = offset + size;
    let most = 0;
    for (let i = offset; i < end; i++) {
      const magnitude = Math.abs(vector[i]);
      if (magnitude > most) most = magnitude;
    }
    const exponent = most === 0 ? 0 : Math.max(LEAST, exponentOf(most) - 14);
    const scale = 2 ** -exponent;
    exponents[p] = exponent;
    // To nearest, ties to even. What this makes smaller than a float32 holds is 0 as a half as well.
    for (let i = offset; i < end; i++) {
      scaled[0] = vector[i] * scale;
      const sign = (bits[0] >>> 16) & 0x8000;
      const rest = bits[0] & 0x7fffffff;
      halves[i] =
        rest < 0x38800000
          ? // Below 2^-14 a half is a multiple of 2^-24, and adding 2^52 rounds to a whole number.
            sign | (Math.abs(scaled[0]) * 2 ** 24 + 2 ** 52 - 2 ** 52)
          : sign | ((rest - 0x38000000 + 0xfff + ((rest >>> 13) & 1)) >>> 13);
    }
  });
}

/** @throws ModelError `layout` for a half or an exponent that `toHalves` does not write. */
export function fromHalves(
  { parameters, size: total }: Layout,
  exponents: Int16Array,
  halves: Uint16Array,
): Vector {
  const vector = new Float32Array(total);
  const out = new Uint32Array(vector.buffer);
  parameters.forEach(({ name, offset, size }, p) => {
    const exponent = exponents[p];
    if (exponent < LEAST || exponent > MOST)
      throw new ModelError(
        "layout",
        `"exponent" of ${name} expected ${LEAST} to ${MOST}, got ${exponent}`,
      );
    // A half's bits, moved, are those of a float32 2^112 times smaller, unless it is subnormal.
    const scale = 2 ** (exponent + 112);
    const fine = 2 ** (exponent - 24);
    for (let i = offset; i < offset + size; i++) {
      const half = halves[i];
      const rest = half & 0x7fff;
      if (rest >= 0x7c00)
        throw new ModelError("layout", `"${name}" expected finite halves, got another`);
      if (rest < 0x400) vector[i] = half === rest ? rest * fine : -rest * fine;
      else {
        out[i] = ((half & 0x8000) << 16) | (rest << 13);
        vector[i] *= scale;
      }
    }
  });
  return vector;
}
