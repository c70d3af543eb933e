/** How updates become whole numbers whose sum cannot leave 32 bits. */
export interface Quantiser {
  /** c: larger numbers are clipped to it. */
  readonly range: number;
  /** Q: so many steps are c. */
  readonly steps: number;
  /** The largest weight of an update; with it, c becomes Q steps. */
  readonly maxWeight: number;
}

/** Q for the most clients that may be in a sum: their sum stays below 2^31. */
export const stepsFor = (clients: number): number => Math.floor((2 ** 31 - 1) / clients);

/** The most clients that such steps leave room for. */
export const mostClients = ({ steps }: Pick<Quantiser, "steps">): number => stepsFor(steps);

/**
 * An update as whole steps, weighted first and then rounded by chance to one of the two steps
 * beside it, so that the mean of many is not drawn to either side:
 * q = floor(clip(x, c) (w / w_max) (Q / c) + chance), within Q.
 * @param chance uniform, one word for each number
 */
export function quantised(
  values: Float32Array | Float64Array,
  weight: number,
  { range, steps, maxWeight }: Quantiser,
  chance: Uint32Array,
): Int32Array {
  const share = weight / maxWeight;
  const scale = steps / range;
  const result = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const x = Math.max(-range, Math.min(range, values[i]));
    const step = Math.floor(x * share * scale + chance[i] * 2 ** -32);
    result[i] = Math.max(-steps, Math.min(steps, step));
  }
  return result;
}

/**
 * The sum of weight times value, from the sum of steps as it stands in Z_2^32. Divided by the sum of
 * weights it is the mean.
 */
export const weightedSum = (
  sum: Uint32Array,
  { range, steps, maxWeight }: Quantiser,
): Float64Array => Float64Array.from(sum, (steps32) => (steps32 | 0) * (range / steps) * maxWeight);

/** So many words from the operating system. */
export function randomWords(count: number): Uint32Array {
  const words = new Uint32Array(count);
  // As many as one call gives.
  for (let from = 0; from < count; from += 16_384)
    crypto.getRandomValues(words.subarray(from, from + 16_384));
  return words;
}
