import { byScore, distancesIn, krumScores } from "../krum-scores.js";
import { krum } from "./krum.js";
import { meanOf, type Rule } from "./rule.js";

/** The mean of the updates with the least scores, scored once: `keep` of them, or n - f - 2. */
export const multiKrum: Rule = {
  ...krum,
  name: "multi-krum",
  purpose: "as krum, with the mean of several updates",
  defaults: { keep: 0 },
  condition: "n >= 2f + 3, and keep <= n - f - 2",
  least: (hostile, { keep }) => Math.max(2 * hostile + 3, keep + hostile + 2),
  refuses: ({ keep }) =>
    Number.isSafeInteger(keep) && keep >= 0
      ? undefined
      : `"keep" expected a whole number of updates (0 for n - f - 2), got ${keep}`,
  combine(round) {
    const { rows, hostile, settings } = round;
    const scores = krumScores(distancesIn(round), [...rows.keys()], hostile);
    const picks = byScore(scores).slice(0, settings["keep"] || rows.length - hostile - 2);
    return { outcome: meanOf(round, picks), picks };
  },
};
