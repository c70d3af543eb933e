import { sharedArray, type ArrayOf, type Dataset } from "../data/dataset.js";

export type SharedDatasets = (dataset: Dataset) => {
  readonly id: number;
  readonly content: Dataset;
};

/**
 * Numbers data sets, and holds each one's shared copy for as long as the caller holds the data set.
 */
export function sharedDatasets(): SharedDatasets {
  const known = new WeakMap<Dataset, { id: number; content: Dataset }>();
  let next = 1;
  return (dataset) => {
    const found = known.get(dataset);
    if (found !== undefined) return found;
    const entry = { id: next++, content: shared(dataset) };
    known.set(dataset, entry);
    return entry;
  };
}

/**
 * The data set on memory that all workers can see, where the engine has such memory; else the data
 * set itself.
 */
function shared(dataset: Dataset): Dataset {
  if (typeof SharedArrayBuffer === "undefined") return dataset;
  const { targets } = dataset;
  const inputs = onShared(dataset.inputs);
  const labels = onShared(dataset.labels);
  if (targets === undefined) return { ...dataset, inputs, labels };
  // Where each place is compared with the next one, both are the same numbers.
  const values = targets.values === dataset.inputs ? inputs : onShared(targets.values);
  return { ...dataset, inputs, labels, targets: { ...targets, values } };
}

function onShared<T extends Float32Array | Uint8Array | Int32Array>(array: T): T {
  if (array.buffer instanceof SharedArrayBuffer) return array;
  const copy = sharedArray(array.constructor as ArrayOf<T>, array.length);
  copy.set(array);
  return copy;
}
