import type { Vector } from "../params/layout.js";

/** sum_j coefficients[j] vectors[j], element by element, rounded to float32 once. All vectors have one length. */
export function combine(
  ...terms: readonly (readonly [coefficient: number, vector: Vector])[]
): Vector {
  const result = new Float32Array(terms[0][1].length);
  for (let i = 0; i < result.length; i++) {
    let sum = 0;
    for (const [coefficient, vector] of terms) sum += coefficient * vector[i];
    result[i] = sum;
  }
  return result;
}
