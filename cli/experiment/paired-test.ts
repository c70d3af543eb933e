import { statisticOf, type Statistic } from "./result.js";

/** What the differences between pairs of values say. */
export interface Paired extends Statistic {
  /**
   * Two-sided p-value of Student's paired t test: how often chance alone gives differences as far
   * from 0 on average. Nothing where all differences are the same.
   */
  readonly p?: number;
}

/** @returns nothing where there is no difference */
export function pairedTest(differences: readonly number[]): Paired | undefined {
  const known = statisticOf(differences);
  if (known?.deviation === undefined || known.deviation === 0) return known;
  const { mean, deviation, count } = known;
  return { ...known, p: twoSided(mean / (deviation / Math.sqrt(count)), count - 1) };
}

/**
 * The share of Student's t distribution of so many degrees of freedom (a whole number) that lies
 * farther from 0 than `t`, on both sides. It is exact, by the finite series of Abramowitz and
 * Stegun, 26.7.3 and 26.7.4, to an absolute error of 1e-15.
 */
export function twoSided(t: number, freedom: number): number {
  const angle = Math.atan(Math.abs(t) / Math.sqrt(freedom));
  const square = Math.cos(angle) ** 2;
  const odd = freedom % 2 === 1;
  // 1 + 1/2 c^2 + (1 3)/(2 4) c^4 ... for even freedom; c + 2/3 c^3 + (2 4)/(3 5) c^5 ... for odd.
  let term = odd ? Math.cos(angle) : 1;
  let sum = 0;
  for (let k = odd ? 3 : 2; k <= freedom; k += 2) {
    sum += term;
    term *= (square * (k - 1)) / k;
  }
  const series = Math.sin(angle) * sum;
  const within = odd ? (2 / Math.PI) * (angle + series) : series;
  return Math.max(0, 1 - within);
}
