import { plain } from "./arithmetic.js";

/**
 * An update with each vector scaled down to a Euclidean norm of at most `most`: x min(1, most /
 * |x|), rounded to float32. The result depends on the update alone, and its norm is summed by
 * the same loop whichever kernels fold; so a fold of clipped updates is as reproducible as any
 * other. For algorithms whose clients keep no state: a client would keep what it sent, the server
 * what it clipped, and the two would drift apart.
 */
export function clipped<Name extends string>(
  update: Readonly<Record<Name, Float32Array>>,
  most: number,
): Record<Name, Float32Array> {
  const clip = (values: Float32Array): Float32Array => {
    const norm = Math.sqrt(plain.squaredNorm(values));
    return norm > most ? values.map((x) => x * (most / norm)) : values;
  };
  return Object.fromEntries(
    Object.entries<Float32Array>(update).map(([name, x]) => [name, clip(x)]),
  ) as Record<Name, Float32Array>;
}
