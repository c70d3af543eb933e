import type { Dataset } from "../data/dataset.js";
import type { TrainJob, Weighted } from "./job.js";
import type { Border, Plan } from "./plan.js";

// What frozen layers give of an example never changes: it is computed once, and kept at the border
// to the layers that learn. An example goes through them by itself, because a product's last bits
// may depend on the rows beside it: so features are the same wherever they were computed.

/** Bytes that an engine keeps at most, and those of an example beside its numbers. */
const MOST_BYTES = 2 ** 26;
const OVERHEAD = 256;

type FeaturesJob = Weighted & Pick<TrainJob, "part" | "spare">;

/** What is kept of one data set's examples, by their rows. */
export interface Features {
  readonly dataset: Dataset;
  /** Of what it was computed by: network, base and normalisation. */
  readonly name: string;
  readonly most: number;
  readonly rows: Map<number, Float32Array>;
}

/**
 * What is kept for a job on a plan: what `last` holds where that is of the same; else nothing yet,
 * for as many examples as fit into what the job has to spare. Undefined where nothing can be: the
 * examples then go through all layers together.
 */
export function featuresFor(
  { border }: Plan,
  { description, base, normalisation, part: { dataset }, spare = 0 }: FeaturesJob,
  last: Features | undefined,
): Features | undefined {
  if (!border || !base) return undefined;
  const name = JSON.stringify([description, base, normalisation]);
  if (last?.dataset === dataset && last.name === name) return last;
  const most = Math.min(MOST_BYTES, spare) / (4 * border.at(0).length + OVERHEAD);
  return { dataset, name, most: Math.floor(most), rows: new Map() };
}

/** Puts the features of rows at the border. */
export function loadFeatures(
  border: Border,
  rows: Uint32Array,
  loadInputs: (rows: Uint32Array) => void,
  { rows: kept, most }: Features,
): void {
  // The first one last: another example's are computed in its place.
  for (let i = rows.length - 1; i >= 0; i--) {
    let features = kept.get(rows[i]);
    if (features === undefined) {
      loadInputs(rows.subarray(i, i + 1));
      features = border.compute();
      if (kept.size < most) kept.set(rows[i], features.slice());
    }
    border.at(i).set(features);
  }
}
