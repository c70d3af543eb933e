import { clippedMean, radiusOf } from "../clipped-mean.js";
import { distancesFrom, type Rule } from "./rule.js";

/** The mean of updates scaled down to a norm of at most `radius`. */
export const normClip: Rule = {
  ...radiusOf,
  name: "norm-clip",
  source: "Sun et al. 2019, Can You Really Backdoor Federated Learning?, arXiv:1911.07963",
  purpose: "bounds what one update moves by radius / n, and does no more",
  condition: "n >= 1; it bounds each update, and counts no hostile ones",
  least: () => 1,
  needsHostile: false,
  keepsCentre: false,
  combine(round) {
    const zero = new Float64Array(round.rows[0].length);
    return { outcome: clippedMean(round, zero, distancesFrom(round, zero)) };
  },
};
