import { majority } from "../majority.js";
import { clippedMean, radiusOf } from "../clipped-mean.js";
import { distancesFrom, type Rule } from "./rule.js";

/**
 * From the outcome v of the last round: v + mean (x - v) min(1, radius / |x - v|). An attacker that
 * stays within the radius for many rounds pulls v along.
 */
export const centredClipping: Rule = {
  ...majority,
  ...radiusOf,
  name: "centred-clipping",
  source:
    "Karimireddy et al. 2021, Learning from History for Byzantine Robust Optimization, arXiv:2012.10333",
  purpose:
    "few hostile updates among many (a tenth, says theory), from round to round; the lightest rule",
  keepsCentre: true,
  combine(round) {
    const distances = distancesFrom(round, round.centre);
    return { outcome: clippedMean(round, round.centre, distances) };
  },
};
