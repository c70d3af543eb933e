import type { Evaluation } from "../../runtime/training/local-round.js";

/** Share of right answers and mean cross-entropy over `count` examples. */
export interface EvaluationResult {
  readonly count: number;
  readonly accuracy: number;
  readonly loss: number;
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
  /** On the hold-outs of so many clients. */
  readonly federated?: EvaluationResult & { readonly clients: number };
}

export const resultOf = ({ count, correct, loss, topEigenvalue }: Tested): EvaluationResult => ({
  count,
  accuracy: correct / count,
  loss: loss / count,
  ...(topEigenvalue !== undefined && { topEigenvalue }),
});
