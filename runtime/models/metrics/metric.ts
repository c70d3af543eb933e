import type { ModelTask } from "../losses/loss.js";
import type { Network } from "../network.js";

/** What a model was measured on, and what came of it. */
export interface MeasuredModel {
  readonly network: Network;
  /** Examples, and how many of them had their class found. */
  readonly count: number;
  readonly correct: number;
  /** Mean loss. */
  readonly loss: number;
  /** The sums of `sumsOf`, where there are any, and over how many examples. */
  readonly sums?: { readonly values: readonly number[]; readonly count: number };
  /** What a target was divided by before the network learned it: one number, or one per column. */
  readonly deviation: readonly number[];
}

/** Values by column, in the order of the output's; undefined where a column has none. */
export type ByColumn = readonly (number | undefined)[];

/** One measure of how good a model is: what it is called, how it is read, and how it is computed. */
export interface Metric {
  readonly title: string;
  /** A share is from 0 to 1, and "" a plain number. */
  readonly unit: "share" | "bits" | "target units" | "";
  readonly better: "higher" | "lower" | "nearer to 0";
  readonly help: string;
  /** The tasks that it measures. */
  readonly tasks: readonly ModelTask[];
  /** The value, or one for each column, whose mean is the value; undefined where there is none. */
  of(measured: MeasuredModel): number | ByColumn | undefined;
}

/** The numbers of each class, label or column in sums that begin at `from` and have `size` each. */
export function groups(
  { sums }: MeasuredModel,
  from: number,
  size: number,
  columns: number,
): readonly (readonly number[])[] {
  if (sums === undefined) return [];
  return Array.from({ length: columns }, (_, i) =>
    sums.values.slice(from + size * i, from + size * (i + 1)),
  );
}

/** a / b; undefined where there is nothing to divide by. */
export const ratio = (a: number, b: number): number | undefined => (b > 0 ? a / b : undefined);
