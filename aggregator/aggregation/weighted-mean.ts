import type { Fold, ServerHalf } from "../../runtime/algorithms/algorithm.js";
import { gridOf, partsOf, type Contribution, type Domain, type RoundFold } from "./exact-sum.js";
import type { ArrivedVector } from "./numbers.js";

/**
 * The first way to combine updates: running sums, each vector weighted by samples or uniformly as
 * the algorithm says; the algorithm's `finish` makes means of them.
 *
 * An update that is tau commits behind counts with s(tau) of its weight. In the sum that is the
 * nearest of 2^k equal parts, so that all stays integer and exact: k is 16, or as much as the
 * largest weight leaves of 2^28 (8 for a client of a million samples). The sum of the weights, by
 * which the mean divides, is that of whole weights, as FedBuff divides by K: stale updates move the
 * model less, and do not merely lose against fresh ones.
 */
export function domainOf(
  server: Pick<ServerHalf, "folds">,
  limits: {
    size: number;
    updates: number;
    samples: number;
    maxAbs: number;
    /** The most commits that an update may be behind. */
    staleness?: number;
  },
): Domain {
  const maxWeight = weightsOf(server, limits.samples);
  const parts = Object.entries(maxWeight).map(([vector, weight]) => [
    vector,
    2 ** Math.max(0, Math.min(16, 28 - Math.ceil(Math.log2(weight)))),
  ]);
  return {
    size: limits.size,
    maxUpdates: limits.updates,
    maxAbs: limits.maxAbs,
    maxWeight,
    ...(limits.staleness && { parts: Object.fromEntries(parts) }),
  };
}

/**
 * FedBuff's weight of an update that is tau commits behind: 1 / sqrt(1 + tau) (Nguyen et al. 2022,
 * arXiv:2106.06639).
 */
const stalenessWeight = (tau: number): number => 1 / Math.sqrt(1 + tau);

/**
 * An update of a client with so many samples, that is so many commits behind, ready for a fold of
 * that domain.
 */
export function contributionOf(
  server: Pick<ServerHalf, "folds">,
  update: Readonly<Record<string, ArrivedVector>>,
  samples: number,
  behind?: { readonly staleness: number; readonly domain: Domain },
): Contribution {
  const weights = weightsOf(server, samples);
  return Object.fromEntries(
    Object.keys(weights).map((vector) => [
      vector,
      {
        values: update[vector],
        weight: weights[vector],
        ...(behind && {
          parts: Math.max(
            1,
            Math.round(partsOf(behind.domain, vector) * stalenessWeight(behind.staleness)),
          ),
        }),
      },
    ]),
  );
}

/**
 * The grid to which the clients of a round of so many updates round what moves their own state too.
 * All of it is on the grid of the round's fold (uniform weights), so the fold adds it exactly. It
 * is never finer than for 512 updates: so what adds up over all rounds has room as well, up to 2^53
 * steps of the finest round, which are 2048 to 4096 times maxAbs.
 */
export const stateGrid = (updates: number, maxAbs: number): number =>
  gridOf(
    {
      size: 0,
      maxUpdates: Math.max(512, updates),
      maxAbs,
      maxWeight: { sent: 1 },
    },
    "sent",
  );

/** What an algorithm's `finish` is given. */
export function foldFor({ domain, sums, weights, members }: RoundFold): Fold {
  const whole = Object.entries(sums).map(([vector, sum]) => {
    const parts = partsOf(domain, vector);
    // By a power of two: exact.
    return [vector, parts === 1 ? sum : sum.map((x) => x / parts)];
  });
  return {
    sums: Object.fromEntries(whole),
    weights,
    count: members.size,
  };
}

const weightsOf = ({ folds }: Pick<ServerHalf, "folds">, samples: number): Record<string, number> =>
  Object.fromEntries(
    Object.entries(folds).map(([vector, weighting]) => [
      vector,
      weighting === "samples" ? samples : 1,
    ]),
  );
