import { majority } from "../majority.js";
import type { Rule } from "./rule.js";

/** Without the f smallest and the f largest values of each coordinate, the mean of the others. */
export const trimmedMean: Rule = {
  name: "trimmed-mean",
  source:
    "Yin et al. 2018, Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, arXiv:1803.01498",
  purpose: "as the median, and nearer to the mean where few are hostile",
  defaults: {},
  ...majority,
  needsHostile: true,
  combine({ rows, hostile, arithmetic }) {
    const outcome = new Float64Array(rows[0].length);
    const end = rows.length - hostile;
    arithmetic.sortedColumns(rows, ({ values, stride, from, count }) => {
      for (let r = hostile; r < end; r++)
        for (let i = 0; i < count; i++) outcome[from + i] += values[r * stride + i];
    });
    return { outcome: outcome.map((sum) => sum / (end - hostile)) };
  },
};
