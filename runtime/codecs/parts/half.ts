import { ModelError } from "../../errors.js";
import { parameterView, type Layout, type Vector } from "../../tensors/layout.js";
import { exponentOf } from "./scale.js";

/** Exponents that a float32's numbers may need: of the smallest half that is used, and the largest. */
const LEAST = -120;
const MOST = 113;

const number = new Float32Array(1);
const bits = new Uint32Array(number.buffer);

/** A half nearest to a number below 2^16, ties to even. */
function halfOf(x: number): number {
  number[0] = x;
  const [b] = bits;
  const sign = (b >>> 16) & 0x8000;
  const size = b & 0x7fffffff;
  // Below 2^-14 a half is a multiple of 2^-24, and adding 2^52 rounds to a whole number.
  if (size < 0x38800000) return sign | (Math.abs(x) * 2 ** 24 + 2 ** 52 - 2 ** 52);
  return sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
}

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
  parameters.forEach((parameter, p) => {
    let most = 0;
    for (const x of parameterView(vector, parameter)) most = Math.max(most, Math.abs(x));
    const exponent = most === 0 ? 0 : Math.max(LEAST, exponentOf(most) - 14);
    const scale = 2 ** -exponent;
    exponents[p] = exponent;
    const { offset, size } = parameter;
    for (let i = offset; i < offset + size; i++) halves[i] = halfOf(vector[i] * scale);
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
