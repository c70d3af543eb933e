import type { Dataset, Normalisation } from "../data/dataset.js";
import { elements } from "../models/layers/layer.js";
import type { Plan } from "./plan.js";

/** Puts rows, normalised, and their labels into a plan; returns the view of its inputs. */
export type Load = (rows: Uint32Array) => Float32Array;

/**
 * A loader of examples of the plan's input shape. Bytes are looked up in a table, for a channel has 256 values only;
 * floats are copied as they are and normalised by kernels, in the plan.
 */
export function loaderOf(
  plan: Plan,
  {
    inputs,
    labels,
  }: Pick<Dataset, "inputs"> & Partial<Pick<Dataset, "labels">>,
  normalisation: Normalisation | undefined,
): Load {
  const { input } = plan.network;
  const size = elements(input);
  const channels = input[input.length - 1];
  const fill =
    normalisation === undefined
      ? copier(inputs, size)
      : inputs instanceof Uint8Array
        ? byteReader(inputs, size, channels, normalisation)
        : floatReader(plan, inputs, size, channels, normalisation);
  return (rows) => {
    const target = plan.inputs();
    fill(rows, target);
    const classes = plan.labels();
    if (labels !== undefined)
      rows.forEach((row, i) => (classes[i] = labels[row]));
    return target;
  };
}

type Fill = (rows: Uint32Array, target: Float32Array) => void;

/** What a value of a channel becomes. */
function normalised(
  { scale, mean, deviation }: Normalisation,
  value: number,
  channel: number,
): number {
  const of = (numbers: readonly number[]) =>
    numbers[numbers.length === 1 ? 0 : channel];
  return (value / scale - of(mean)) / of(deviation);
}

const copier =
  (inputs: Dataset["inputs"], size: number): Fill =>
  (rows, target) =>
    rows.forEach((row, i) =>
      target.set(inputs.subarray(row * size, (row + 1) * size), i * size),
    );

function byteReader(
  inputs: Uint8Array,
  size: number,
  channels: number,
  normalisation: Normalisation,
): Fill {
  const table = Float32Array.from({ length: 256 * channels }, (_, i) =>
    normalised(normalisation, Math.floor(i / channels), i % channels),
  );
  return (rows, target) => {
    let to = 0;
    for (const row of rows)
      for (let from = row * size, end = from + size; from < end;)
        for (let channel = 0; channel < channels; channel++)
          target[to++] = table[inputs[from++] * channels + channel];
  };
}

function floatReader(
  plan: Plan,
  inputs: Float32Array,
  size: number,
  channels: number,
  normalisation: Normalisation,
): Fill {
  const offsets = Float32Array.from({ length: size }, (_, i) =>
    normalised(normalisation, 0, i % channels),
  );
  const factors = Float32Array.from(
    offsets,
    (offset, i) => normalised(normalisation, 1, i % channels) - offset,
  );
  const copy = copier(inputs, size);
  return (rows, target) => {
    copy(rows, target);
    plan.scaleInputs(rows.length, factors, offsets);
  };
}
