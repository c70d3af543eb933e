import { figureText } from "../figure-text.js";
import type { ModelTask } from "../losses/loss.js";
import type { ModelCard } from "../model.js";
import { networkOf } from "../network.js";
import { accuracy } from "./accuracy.js";
import { auc } from "./auc.js";
import { bias } from "./bias.js";
import { bits } from "./bits.js";
import { error } from "./error.js";
import { f1 } from "./f1.js";
import { mae } from "./mae.js";
import type { ByColumn, MeasuredModel, Metric } from "./metric.js";
import { mse } from "./mse.js";
import { perplexity } from "./perplexity.js";
import { precision } from "./precision.js";
import { r2 } from "./r2.js";
import { recall } from "./recall.js";
import { columnsOf, sumsOf } from "./sums.js";
import { top5 } from "./top5.js";

/** Every metric by name; the first one of a task is what its models are judged by. */
export const METRICS = {
  bits,
  accuracy,
  r2,
  error,
  f1,
  auc,
  top5,
  precision,
  recall,
  mse,
  mae,
  bias,
  perplexity,
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof METRICS;

export const METRIC_NAMES = Object.keys(METRICS) as readonly MetricName[];

/** Values of a task's metrics, by name. */
export type MetricValues = { readonly [Name in MetricName]?: number };

const ALL = Object.entries(METRICS) as readonly (readonly [MetricName, Metric])[];

/** The metrics of a task, what it is judged by first. */
export const metricsOf = (task: ModelTask): readonly MetricName[] =>
  ALL.filter(([, { tasks }]) => tasks.includes(task)).map(([name]) => name);

/** What a model of this task is judged by. */
export const headlineOf = (task: ModelTask): MetricName => metricsOf(task)[0];

/** What metrics say of a model. */
export interface MetricReading {
  readonly values: MetricValues;
  /** Values by column, where there are several. */
  readonly columns: { readonly [Name in MetricName]?: ByColumn };
}

/** Reads the metrics of one model's task from sums. */
export interface MetricReader {
  readonly task: ModelTask;
  readonly headline: MetricName;
  /** Length of the sums that a client sends. */
  readonly length: number;
  read(measured: Omit<MeasuredModel, "network" | "deviation">): MetricReading;
  /**
   * What a client's sums over `count` examples would have to be, where they cannot be right.
   * @param mostLoss the largest mean loss that is believed: errors may be as large
   */
  doubt(sums: readonly number[], count: number, mostLoss?: number): string | undefined;
}

export function metricReader({ description, targets }: ModelCard): MetricReader {
  const network = networkOf(description);
  const { task } = network.loss;
  const deviation = targets?.deviation ?? [1];
  const { length } = sumsOf(network).values;
  const counted = task !== "numbers" && task !== "input";
  return {
    task,
    doubt(sums, count, mostLoss = 0) {
      if (sums.length !== length) return `${length} numbers, got ${sums.length}`;
      // Every example is counted at most once for each of its positions, in each of these numbers.
      const most = count * network.loss.target.size;
      if (counted && sums.some((sum) => sum < 0 || sum > most)) return `counts from 0 to ${most}`;
      return counted ? undefined : doubtfulErrors(sums, count, network, mostLoss);
    },
    headline: headlineOf(task),
    length,
    read(measured) {
      const whole = { ...measured, network, deviation };
      const values: { [Name in MetricName]?: number } = {};
      const columns: { [Name in MetricName]?: ByColumn } = {};
      for (const name of metricsOf(task)) {
        const value = METRICS[name].of(whole);
        if (typeof value === "number") values[name] = value;
        if (typeof value !== "object") continue;
        const known = value.filter((one) => one !== undefined);
        if (known.length > 0)
          values[name] = known.reduce((sum, one) => sum + one, 0) / known.length;
        if (value.length > 1) columns[name] = value;
      }
      return { values, columns };
    },
  };
}

/** A normalised target, or an error, that is so far off on the average makes the sums doubtful. */
const MOST_SQUARE = 1e4;

/** Sums of errors that numbers cannot have: |sum e| <= sum |e| <= sqrt(n sum e^2), and the targets' alike. */
function doubtfulErrors(
  sums: readonly number[],
  count: number,
  network: Parameters<typeof columnsOf>[0],
  mostLoss: number,
): string | undefined {
  const most = Math.max(MOST_SQUARE, mostLoss ** 2);
  const n = (count * network.loss.target.size) / columnsOf(network);
  const above = (a: number, b: number) => Math.abs(a) > b * (1 + 1e-6) + 1e-6;
  const errors = 5 * columnsOf(network);
  const bins = sums.slice(errors);
  if (bins.some((bin) => bin < 0) || bins.reduce((a, b) => a + b, 0) > count)
    return `errors of at most ${count} examples`;
  for (let i = 0; i < errors; i += 5) {
    const [error, absolute, squares, target, targetSquares] = sums.slice(i, i + 5);
    if (
      squares < 0 ||
      targetSquares < 0 ||
      above(error, absolute) ||
      above(absolute, Math.sqrt(n * squares)) ||
      above(target, Math.sqrt(n * targetSquares))
    )
      return "sums of errors and targets that numbers can have";
    if (squares > most * n || targetSquares > MOST_SQUARE * n)
      return `means of at most ${most} for squares of normalised errors, and ${MOST_SQUARE} for those of targets`;
  }
  return undefined;
}

/** A metric's value in words: `80.6 %`, `0.913`. */
export const metricText = (name: MetricName, value: number | undefined): string =>
  value !== undefined && METRICS[name].unit === "share"
    ? `${(100 * value).toFixed(1)} %`
    : figureText(value);
