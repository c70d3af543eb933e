import type {
  MetricReader,
  MetricReading,
  MetricValues,
} from "../../runtime/models/metrics/built-in.js";
import type { Evaluation } from "../../runtime/training/local-round.js";
import type { Spread } from "./spread.js";

/** How good a model is over `count` examples: what the metrics of its task say. */
export interface EvaluationResult {
  readonly count: number;
  /** Share of right answers, where the task has such. */
  readonly accuracy?: number;
  /** Mean loss. */
  readonly loss: number;
  /** The task's other metrics, and their values by class, label or column. */
  readonly metrics?: Omit<MetricValues, "accuracy">;
  readonly columns?: MetricReading["columns"];
  /** Largest eigenvalue of the Hessian, where it was computed. */
  readonly topEigenvalue?: number;
}

/** What the server's own test data say of a model. */
export interface Tested extends Evaluation {
  readonly topEigenvalue?: number;
}

/** A line of `evaluations.jsonl`. */
export interface EvaluationRecord {
  readonly round: number;
  /** On the test data of the server. */
  readonly test?: EvaluationResult;
  /** On the hold-outs of so many clients, each with the model that it predicts with. */
  readonly federated?: EvaluationResult & {
    readonly clients: number;
    /** Of what models are judged by, on each client's hold-out by itself. */
    readonly spread?: Spread;
  };
}

/** An evaluation's sums as means. */
export function resultOf(
  reader: MetricReader,
  { count, correct, loss, sums }: Parameters<MetricReader["read"]>[0],
): EvaluationResult {
  const { values, columns } = reader.read({ count, correct, loss: loss / count, sums });
  const { accuracy, ...metrics } = values;
  return {
    count,
    ...(accuracy !== undefined && { accuracy }),
    loss: loss / count,
    ...(Object.keys(metrics).length > 0 && { metrics }),
    ...(Object.keys(columns).length > 0 && { columns }),
  };
}

/** What models are judged by, as one evaluation says it. */
export const headlineIn = (
  reader: MetricReader,
  { count, correct, loss, sums }: Evaluation,
): number | undefined =>
  reader.read({
    ...{ count, correct, loss: loss / count },
    ...(sums && { sums: { values: sums, count } }),
  }).values[reader.headline];
