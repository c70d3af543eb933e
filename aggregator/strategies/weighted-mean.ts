import type { Fold, ServerHalf } from "../../runtime/algorithms/algorithm.js";
import type { Vector } from "../../runtime/params/layout.js";
import type { Contribution, Domain, RoundFold } from "./fold.js";

/**
 * The first way to combine updates: running sums, each vector weighted by samples or uniformly as the algorithm says;
 * the algorithm's `finish` makes means of them.
 */
export function domainOf(
  server: ServerHalf,
  limits: { size: number; updates: number; samples: number; maxAbs: number },
): Domain {
  return {
    size: limits.size,
    maxUpdates: limits.updates,
    maxAbs: limits.maxAbs,
    maxWeight: weightsOf(server, limits.samples),
  };
}

/** An update of a client with so many samples, ready for the fold. */
export function contributionOf(
  server: ServerHalf,
  update: Readonly<Record<string, Vector>>,
  samples: number,
): Contribution {
  const weights = weightsOf(server, samples);
  return Object.fromEntries(
    Object.keys(weights).map((vector) => [
      vector,
      { values: update[vector], weight: weights[vector] },
    ]),
  );
}

/** What an algorithm's `finish` is given. */
export const foldFor = ({ sums, weights, members }: RoundFold): Fold => ({
  sums,
  weights,
  count: members.size,
});

const weightsOf = (
  { folds }: ServerHalf,
  samples: number,
): Record<string, number> =>
  Object.fromEntries(
    Object.entries(folds).map(([vector, weighting]) => [
      vector,
      weighting === "samples" ? samples : 1,
    ]),
  );
