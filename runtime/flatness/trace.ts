import { random } from "../tensors/random.js";
import type { Product } from "./lanczos.js";

export interface Trace {
  readonly value: number;
  /** Standard error of the estimate; 0 where the trace is exact. */
  readonly standardError: number;
  readonly products: number;
}

/** The largest dimension for which `trace` takes unit vectors and is exact. */
export const EXACT_UP_TO = 5000;

/**
 * The trace of a symmetric matrix from products: exact by unit vectors up to `EXACT_UP_TO`
 * dimensions, above by Hutchinson's estimator with random signs (Hutchinson 1990): the mean of z' H
 * z over `probes` vectors z, with its standard error.
 */
export async function trace(
  product: Product,
  dimension: number,
  options: {
    readonly probes: number;
    readonly seed: string | number;
    /** Estimate even where the exact trace could be had. */
    readonly estimate?: boolean;
    readonly onStep?: (step: number, steps: number) => void;
  },
): Promise<Trace> {
  const { probes, seed, estimate = false, onStep } = options;
  if (dimension <= EXACT_UP_TO && !estimate) {
    let value = 0;
    for (let i = 0; i < dimension; i++) {
      const v = new Float64Array(dimension);
      v[i] = 1;
      value += (await product(v))[i];
      onStep?.(i + 1, dimension);
    }
    return { value, standardError: 0, products: dimension };
  }
  const chance = random(seed, "trace");
  let mean = 0;
  let squares = 0;
  for (let n = 1; n <= probes; n++) {
    const z = new Float64Array(dimension).map(() => (chance.next() < 0.5 ? -1 : 1));
    const h = await product(z);
    let sample = 0;
    for (let i = 0; i < dimension; i++) sample += z[i] * h[i];
    const difference = sample - mean;
    mean += difference / n;
    squares += difference * (sample - mean);
    onStep?.(n, probes);
  }
  const variance = probes > 1 ? squares / (probes - 1) : Infinity;
  return {
    value: mean,
    standardError: Math.sqrt(variance / probes),
    products: probes,
  };
}
