import { byScore, distancesIn, krumScores } from "../krum-scores.js";
import { krum } from "./krum.js";
import type { Rule } from "./rule.js";

/**
 * Krum picks n - 2f updates, one after the other among those that are left; then of each coordinate
 * the mean of the n - 4f values that are nearest to the median of those picked, of equally near
 * ones the smaller.
 */
export const bulyan: Rule = {
  ...krum,
  name: "bulyan",
  source:
    "El Mhamdi et al. 2018, The Hidden Vulnerability of Distributed Learning in Byzantium, arXiv:1802.07927",
  purpose: "as krum, and against single coordinates that are far off; needs the most members",
  condition: "n >= 4f + 3",
  least: (hostile) => 4 * hostile + 3,
  combine(round) {
    const { rows, hostile, arithmetic } = round;
    const distances = distancesIn(round);
    const left = [...rows.keys()];
    const picks: number[] = [];
    while (picks.length < rows.length - 2 * hostile) {
      const [best] = byScore(krumScores(distances, left, hostile));
      picks.push(...left.splice(best, 1));
    }
    const outcome = new Float64Array(rows[0].length);
    const kept = picks.length - 2 * hostile;
    const upper = picks.length >> 1;
    const lower = (picks.length - 1) >> 1;
    const picked = picks.map((pick) => rows[pick]);
    arithmetic.sortedColumns(picked, ({ values, stride, from, count }) => {
      for (let i = 0; i < count; i++) {
        const at = (r: number) => values[r * stride + i];
        const median = (at(lower) + at(upper)) / 2;
        // In rising order the nearest lie side by side.
        let first = 0;
        while (
          first + kept < picks.length &&
          Math.abs(at(first) - median) > Math.abs(at(first + kept) - median)
        )
          first++;
        let sum = 0;
        for (let r = first; r < first + kept; r++) sum += at(r);
        outcome[from + i] = sum / kept;
      }
    });
    return { outcome, picks };
  },
};
