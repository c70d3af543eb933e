import type { NamedNumbers } from "../../../runtime/algorithms/algorithm.js";
import type { Arithmetic } from "../arithmetic.js";

/**
 * How the updates of a round become the one by which the model moves. One file in this folder is
 * one rule. Where some updates may be hostile, a rule bounds what they can do to the outcome; it
 * does not recognise them.
 */
export interface Rule {
  readonly name: string;
  /** Paper, one line. */
  readonly source: string;
  /** What it is for, as help and documents say it. */
  readonly purpose: string;
  /** The rule's own numbers and their defaults. */
  readonly defaults: NamedNumbers;
  /**
   * What must hold of the updates of a round, n of them with f hostile; empty where every round
   * will do.
   */
  readonly condition: string;
  /**
   * The fewest updates of which so many may be hostile: the rule refuses a round with fewer.
   * Infinity where it bears none.
   */
  least(hostile: number, settings: NamedNumbers): number;
  /** The outcome depends on the number of hostile updates, so it has to be given. */
  readonly needsHostile: boolean;
  /** What is wrong with the rule's own numbers, if anything is. */
  refuses?(settings: NamedNumbers): string | undefined;
  /** What is wrong with the updates of a round, beside their number. */
  refusesRound?(round: Gathered): string | undefined;
  /**
   * Where the outcome is a plain sum of what each update adds, so that it is added as it arrives
   * and not kept: how. Nothing where the rule has to see all updates of a round together.
   */
  streams(settings: NamedNumbers): Streaming | undefined;
  /** The rule starts from its outcome of the last committed round, which outlives the process. */
  readonly keepsCentre: boolean;
  /** The outcome of updates that are all there. Not called for what `streams`. */
  combine(round: Gathered): Combined;
}

/**
 * Weighted sums as they are; or each update as a whole pulled to within `radius` of the centre, all
 * with the same weight.
 */
export type Streaming =
  { readonly kind: "weighted" } | { readonly kind: "clipped"; readonly radius: number };

/** The updates of a round, all vectors of each end to end as one row of float32. */
export interface Gathered {
  /** In rising order of the clients' ids, never of arrival: ties go to the first. */
  readonly rows: readonly Float32Array[];
  /** Samples that each counts with, capped: a claim. */
  readonly weights: readonly number[];
  /** How many of them may be hostile. */
  readonly hostile: number;
  readonly settings: NamedNumbers;
  /** What `combine` gave in the last committed round; zeros before the first. */
  readonly centre: Float64Array;
  readonly arithmetic: Arithmetic;
}

export interface Combined {
  readonly outcome: Float64Array;
  /** Rows that the outcome was made of, where the rule picks: the best first. */
  readonly picks?: readonly number[];
}

/** Rows with these factors, added in their order. */
export function weightedSum(
  { rows, arithmetic }: Pick<Gathered, "rows" | "arithmetic">,
  factorOf: (row: number) => number,
): Float64Array {
  const sum = new Float64Array(rows[0].length);
  rows.forEach((row, i) => arithmetic.fold(sum, row, factorOf(i), 0));
  return sum;
}

/** The mean of these rows, added in rising order. */
export function meanOf(gathered: Gathered, picks: Iterable<number>): Float64Array {
  const places = [...picks].sort((a, b) => a - b);
  const rows = places.map((place) => gathered.rows[place]);
  const sum = weightedSum({ ...gathered, rows }, () => 1);
  return sum.map((x) => x / rows.length);
}

/** For even numbers the mean of the two middle values. */
export function medianOf(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The Euclidean distance of each row from the centre. */
export const distancesFrom = (
  { rows, arithmetic }: Pick<Gathered, "rows" | "arithmetic">,
  centre: Float64Array,
): number[] => rows.map((row) => Math.sqrt(arithmetic.squaredLengths(row, centre).distance));
