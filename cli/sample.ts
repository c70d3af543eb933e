import type { Dataset, Part } from "../runtime/data/dataset.js";
import { random } from "../runtime/tensors/random.js";

/**
 * So many examples of a data set, drawn by the seed; all of them in their order where no number is
 * given.
 */
export function sampleOf(
  dataset: Dataset,
  samples: number | undefined,
  seed: string | number,
): Part {
  const rows = Uint32Array.from(dataset.labels.keys());
  if (samples === undefined || samples >= rows.length) return { dataset, rows };
  return {
    dataset,
    rows: random(seed, "samples").shuffle(rows).slice(0, samples),
  };
}
