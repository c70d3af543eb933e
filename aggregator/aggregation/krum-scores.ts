import type { Gathered } from "./rules/rule.js";

/** Squared distances between the rows of a round. */
export interface Distances {
  readonly rows: number;
  between(a: number, b: number): number;
}

export function distancesIn({ rows, arithmetic }: Gathered): Distances {
  const squares = arithmetic.squaredDistances(rows);
  return { rows: rows.length, between: (a, b) => squares[a * rows.length + b] };
}

/**
 * Krum's score of each of these rows: the sum of the squared distances to its nearest n - f - 2
 * others, at least one of them and at most all, added from the smallest up, so that equal updates
 * get equal scores.
 */
export function krumScores(
  { between }: Distances,
  among: readonly number[],
  hostile: number,
): number[] {
  const nearest = Math.max(1, among.length - hostile - 2);
  return among.map((row) => {
    const others = Float64Array.from(
      among.filter((other) => other !== row),
      (other) => between(row, other),
    ).sort();
    return others.subarray(0, nearest).reduce((sum, distance) => sum + distance, 0);
  });
}

/** Places of the scores from the least up; of equal ones the first goes first. */
export const byScore = (scores: readonly number[]): number[] =>
  scores.map((_, place) => place).sort((a, b) => scores[a] - scores[b] || a - b);
