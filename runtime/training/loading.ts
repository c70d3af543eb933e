import type { Dataset, Normalisation } from "../data/dataset.js";
import { elements } from "../tensors/shape.js";
import type { Plan } from "./plan.js";

/** Puts rows, normalised, and their labels into a plan; returns the view of its inputs. */
export type LoadRows = (rows: Uint32Array) => Float32Array;

/**
 * A loader of examples of the plan's input shape: each is copied as it is, bytes becoming floats on
 * the way, and normalised by kernels in the plan, which is several times quicker than a loop in
 * JavaScript.
 */
export function loaderOf(
  plan: Plan,
  { inputs, labels }: Pick<Dataset, "inputs"> & Partial<Pick<Dataset, "labels">>,
  normalisation: Normalisation | undefined,
): LoadRows {
  const size = elements(plan.network.input);
  const scaling = normalisation && scalingOf(plan.network.input, normalisation);
  return (rows) => {
    const target = plan.inputs();
    const classes = plan.labels();
    rows.forEach((row, i) => {
      target.set(inputs.subarray(row * size, (row + 1) * size), i * size);
      if (labels !== undefined) classes[i] = labels[row];
    });
    if (scaling !== undefined) plan.scaleInputs(rows.length, scaling.factors, scaling.offsets);
    return target;
  };
}

/** The normalisation of one example, element by element, as x -> factor x + offset. */
function scalingOf(
  shape: readonly number[],
  { scale, mean, deviation }: Normalisation,
): { factors: Float32Array; offsets: Float32Array } {
  const size = elements(shape);
  const channels = shape[shape.length - 1];
  const of = (numbers: readonly number[], i: number) =>
    numbers[numbers.length === 1 ? 0 : i % channels];
  return {
    factors: Float32Array.from({ length: size }, (_, i) => 1 / (scale * of(deviation, i))),
    offsets: Float32Array.from({ length: size }, (_, i) => -of(mean, i) / of(deviation, i)),
  };
}
