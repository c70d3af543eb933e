import { spreadOf, type Spread } from "../aggregator/run/spread.js";
import type { Dataset } from "../runtime/data/dataset.js";

/** How well models serve each client. Accuracies from 0 to 1. */
export interface ByClient extends Spread {
  /** In the order of the clients. */
  readonly clients: readonly number[];
}

/**
 * Each client's accuracy: that on the test data, weighted by the client's own mix of classes. So
 * nothing need be set aside on the clients, and a client of few examples is not judged by few.
 * Classes that the test data lack are left out.
 * @param predicted class of each test example
 */
export function byClient(
  test: Pick<Dataset, "labels" | "classes">,
  predicted: ArrayLike<number>,
  labels: Int32Array,
  parts: readonly Uint32Array[],
): ByClient {
  const count = test.classes.length;
  const seen = new Float64Array(count);
  const right = new Float64Array(count);
  test.labels.forEach((label, i) => {
    seen[label]++;
    if (predicted[i] === label) right[label]++;
  });
  const clients = parts.flatMap((rows) => {
    let [known, sum] = [0, 0];
    for (const row of rows) {
      const label = labels[row];
      if (seen[label] === 0) continue;
      known++;
      sum += right[label] / seen[label];
    }
    return known === 0 ? [] : [sum / known];
  });
  return { clients, ...(spreadOf(clients) ?? { mean: NaN, worstTenth: NaN }) };
}
