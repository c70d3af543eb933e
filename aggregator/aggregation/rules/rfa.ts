import { weightedMajority, weightsIn } from "../majority.js";
import { coordinateMedian } from "./median.js";
import { distancesFrom, weightedSum, type Rule } from "./rule.js";

/** A distance below this counts as this: the sum of distances is smooth at the updates. */
const NU = 1e-6;

/**
 * The geometric median, by a few steps of the smoothed Weiszfeld algorithm. It starts at the
 * coordinates' median and not at the mean, which a few far updates take so far off that the steps
 * do not lead back.
 */
export const rfa: Rule = {
  name: "rfa",
  source: "Pillutla et al. 2022, Robust Aggregation for Federated Learning, arXiv:1912.13445",
  purpose: "fewer hostile than honest updates, taken as a whole",
  ...weightedMajority,
  defaults: { ...weightedMajority.defaults, steps: 4 },
  refuses: (settings) =>
    Number.isSafeInteger(settings["steps"]) && settings["steps"] >= 1
      ? weightedMajority.refuses(settings)
      : `"steps" expected a whole number from 1, got ${settings["steps"]}`,
  combine(round) {
    const weights = weightsIn(round);
    let outcome = coordinateMedian(round);
    for (let step = 0; step < round.settings["steps"]; step++) {
      const distances = distancesFrom(round, outcome);
      const factors = weights.map((weight, i) => weight / Math.max(NU, distances[i]));
      const total = factors.reduce((sum, factor) => sum + factor, 0);
      outcome = weightedSum(round, (i) => factors[i]).map((x) => x / total);
    }
    return { outcome };
  },
};
