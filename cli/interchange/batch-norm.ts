import { refuse } from "./imported.js";

/** Of each channel. */
export type BatchNormNumbers = Readonly<
  Record<"gamma" | "beta" | "mean" | "variance", Float32Array>
>;

/** Scale and shift of a batch normalisation by its running values. */
export function foldedNorm(
  node: string,
  { gamma, beta, mean, variance }: BatchNormNumbers,
  epsilon: number,
): { readonly scale: Float32Array; readonly shift: Float32Array } {
  const n = mean.length;
  for (const [name, values] of Object.entries({ gamma, beta, variance }))
    if (values.length !== n) refuse(node, name, `${n} numbers`, values.length);
  const negative = variance.find((v) => !(v + epsilon > 0));
  if (negative !== undefined) refuse(node, "variance", "positive numbers", negative);
  const scale = gamma.map((g, i) => g / Math.sqrt(variance[i] + epsilon));
  return { scale, shift: beta.map((b, i) => b - mean[i] * scale[i]) };
}
