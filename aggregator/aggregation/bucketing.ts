import type { Random } from "../../runtime/tensors/random.js";
import type { Gathered } from "./rules/rule.js";

/**
 * Means of `size` updates each, drawn together by chance (the last may have fewer), for a rule to
 * combine: they are more alike than single updates where data are not, and a hostile update still
 * spoils only one of them (Karimireddy et al. 2022, arXiv:2006.09365). Weights are added up.
 */
export function inBuckets(
  { rows, weights }: Pick<Gathered, "rows" | "weights">,
  size: number,
  chance: Random,
): Pick<Gathered, "rows" | "weights"> {
  if (size === 1) return { rows, weights };
  const order = [...chance.shuffle(Uint32Array.from(rows.keys()))];
  const buckets = Array.from({ length: Math.ceil(rows.length / size) }, (_, i) =>
    order.slice(i * size, (i + 1) * size),
  );
  return {
    rows: buckets.map((bucket) =>
      new Float32Array(rows[0].length).map(
        (_, i) => bucket.reduce((sum, row) => sum + rows[row][i], 0) / bucket.length,
      ),
    ),
    weights: buckets.map((bucket) => bucket.reduce((sum, row) => sum + weights[row], 0)),
  };
}

/** The fewest updates of which so many buckets can be made. */
export const leastFor = (buckets: number, size: number): number => (buckets - 1) * size + 1;
