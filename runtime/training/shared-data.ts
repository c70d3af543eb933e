import type { Dataset } from "../data/dataset.js";

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
function shared({ inputs, labels, ...rest }: Dataset): Dataset {
  if (typeof SharedArrayBuffer === "undefined") return { inputs, labels, ...rest };
  const share = <T extends Dataset["inputs"] | Int32Array>(
    array: T,
    Kind: new (buffer: SharedArrayBuffer) => T,
  ): T => {
    if (array.buffer instanceof SharedArrayBuffer) return array;
    const copy = new Kind(new SharedArrayBuffer(array.byteLength));
    copy.set(array);
    return copy;
  };
  return {
    ...rest,
    inputs:
      inputs instanceof Uint8Array
        ? share<Uint8Array>(inputs, Uint8Array)
        : share<Float32Array>(inputs, Float32Array),
    labels: share<Int32Array>(labels, Int32Array),
  };
}
