import { byScore, distancesIn, krumScores } from "../krum-scores.js";
import type { Rule } from "./rule.js";

/** The one update that is nearest to its n - f - 2 nearest others. */
export const krum: Rule = {
  name: "krum",
  source:
    "Blanchard et al. 2017, Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, NeurIPS",
  purpose: "hostile updates that lie far off; it takes one update, so it learns slowly",
  defaults: {},
  condition: "n >= 2f + 3",
  least: (hostile) => 2 * hostile + 3,
  needsHostile: true,
  streams: () => undefined,
  keepsCentre: false,
  combine(round) {
    const { rows, hostile } = round;
    const scores = krumScores(distancesIn(round), [...rows.keys()], hostile);
    const [pick] = byScore(scores);
    return { outcome: Float64Array.from(rows[pick]), picks: [pick] };
  },
};
