import { ConfigError } from "../../runtime/errors.js";
import { gaussianEpsilon, leastWhere } from "./gaussian.js";
import { lossEpsilon } from "./loss-distribution.js";
import type { Release } from "./release.js";
import { renyiEpsilon } from "./renyi.js";

/** Below this, rounding errors of the convolution would count. */
export const LEAST_DELTA = 1e-10;

/**
 * The epsilon at delta of all releases together, for one client more or less: by their privacy loss
 * distributions, never below the truth by more than 1e-5 of it. Infinity where there is no noise.
 * @param step the grid of the losses; a wider one is quicker, and its epsilon larger
 * @throws ConfigError `privacy` for a delta below 1e-10 or from 1 on
 */
export function epsilonOf(releases: readonly Release[], delta: number, step = 1e-4): number {
  if (!(delta >= LEAST_DELTA && delta < 1))
    throw new ConfigError(
      "privacy",
      `"delta" expected a number from ${LEAST_DELTA} to below 1, got ${delta}`,
    );
  const all = merged(releases);
  if (all.length === 0) return 0;
  if (all.some(({ noise }) => noise === 0)) return Infinity;
  if (all.every(({ sampling }) => sampling === 1)) {
    const squares = all.reduce((sum, { noise, rounds }) => sum + rounds / (noise * noise), 0);
    return gaussianEpsilon(Math.sqrt(squares), delta);
  }
  // Where noise is next to none, its distribution has no place on any grid.
  const { epsilon } = renyiEpsilon(all, delta, [2, 4, 8]);
  if (epsilon > MOST_EPSILON) return epsilon;
  return Math.max(lossEpsilon(all, delta, "remove", step), lossEpsilon(all, delta, "add", step));
}

/** An epsilon above this says nothing any more, and is given by Renyi's orders. */
const MOST_EPSILON = 500;

/** Those of the same kind as one, and none of no rounds. */
function merged(releases: readonly Release[]): Release[] {
  const kinds = new Map<string, Release>();
  for (const one of releases) {
    if (one.rounds === 0 || one.sampling === 0) continue;
    const kind = `${one.sampling} ${one.noise}`;
    kinds.set(kind, { ...one, rounds: one.rounds + (kinds.get(kind)?.rounds ?? 0) });
  }
  return [...kinds.values()];
}

/** Noise multipliers that are looked at. */
const LEAST_NOISE = 0.05;
const MOST_NOISE = 1e6;

/**
 * The least noise multiplier, to 1e-4 of it, with which so many rounds keep epsilon at delta.
 * @throws ConfigError `privacy` where no noise that makes sense does, and as `epsilonOf`
 */
export function noiseFor(
  epsilon: number,
  { sampling, rounds }: Pick<Release, "sampling" | "rounds">,
  delta: number,
): number {
  const keepsWith = (step: number) => (noise: number) =>
    epsilonOf([{ sampling, noise, rounds }], delta, step) <= epsilon;
  // A coarse grid first, whose epsilons are a little larger, finds the place.
  const coarse = keepsWith(1e-3);
  let most = 1;
  while (!coarse(most)) {
    most *= 2;
    if (most > MOST_NOISE)
      throw new ConfigError(
        "privacy",
        `"epsilon" expected one that some noise keeps, got ${epsilon}`,
      );
  }
  const near = leastWhere(coarse, most === 1 ? LEAST_NOISE : most / 2, most, 1e-3);
  return leastWhere(keepsWith(1e-4), Math.max(LEAST_NOISE, near * 0.99), near, 1e-4);
}
