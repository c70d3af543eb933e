import { weightedMajority } from "../majority.js";
import type { Gathered, Rule } from "./rule.js";

/** Of each coordinate the middle value; for an even number the mean of the two middle ones. */
export function coordinateMedian({
  rows,
  arithmetic,
}: Pick<Gathered, "rows" | "arithmetic">): Float64Array {
  const outcome = new Float64Array(rows[0].length);
  const upper = rows.length >> 1;
  const lower = (rows.length - 1) >> 1;
  arithmetic.sortedColumns(rows, ({ values, stride, from, count }) => {
    for (let i = 0; i < count; i++)
      // Plus nothing: where both are -0, the sign would depend on the kernels.
      outcome[from + i] = (values[lower * stride + i] + values[upper * stride + i]) / 2 + 0;
  });
  return outcome;
}

/**
 * Of each coordinate the least value at which the weights of those that are not larger come to half
 * of all weights; where they come to just that, the mean of it and the next value.
 */
function weightedMedian({ rows, weights }: Gathered): Float64Array {
  const places = weights.map((_, i) => i);
  const half = weights.reduce((sum, weight) => sum + weight, 0) / 2;
  return Float64Array.from(rows[0], (_, coordinate) => {
    const order = places.sort((a, b) => rows[a][coordinate] - rows[b][coordinate] || a - b);
    let at = 0;
    let sum = weights[order[0]];
    while (sum < half) sum += weights[order[++at]];
    const value = rows[order[at]][coordinate];
    return sum > half ? value : (value + rows[order[at + 1]][coordinate]) / 2;
  });
}

export const median: Rule = {
  name: "median",
  source:
    "Yin et al. 2018, Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, arXiv:1803.01498",
  purpose: "fewer hostile than honest updates, whatever they are, coordinate by coordinate",
  ...weightedMajority,
  combine: (gathered) => ({
    outcome:
      gathered.settings["weighted"] === 1 ? weightedMedian(gathered) : coordinateMedian(gathered),
  }),
};
