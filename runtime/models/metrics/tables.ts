import { channelOf } from "../../data/dataset.js";
import { columnsOf } from "./sums.js";
import { groups, type MeasuredModel } from "./metric.js";

// How the sums of sums.ts are laid out, for the metrics that read them.

/** Of each class or label: how often it is there, is predicted, and both. */
export function predictionsBy(
  measured: MeasuredModel,
): readonly { readonly there: number; readonly said: number; readonly both: number }[] {
  const { task } = measured.network.loss;
  const from = task === "labels" ? 0 : 3;
  return groups(measured, from, 3, columnsOf(measured.network)).map(([there, said, both]) => ({
    there,
    said,
    both,
  }));
}

/** Of each column: how many numbers, and the sums of error, |error|, error^2, target and target^2. */
export function errorsBy(measured: MeasuredModel): readonly {
  readonly n: number;
  readonly error: number;
  readonly absolute: number;
  readonly squares: number;
  readonly target: number;
  readonly targetSquares: number;
  /** What the column's targets were divided by. */
  readonly deviation: number;
}[] {
  const { network, sums, deviation } = measured;
  const columns = columnsOf(network);
  const n = ((sums?.count ?? 0) * network.loss.target.size) / columns;
  return groups(measured, 0, 5, columns).map(
    ([error, absolute, squares, target, targetSquares], i) => ({
      ...{ n, error, absolute, squares, target, targetSquares },
      deviation: columns === 1 && deviation.length > 1 ? 1 : channelOf(deviation, i),
    }),
  );
}
