import { channelOf, startOf, type Dataset, type Normalisation } from "../data/dataset.js";
import { elements } from "../tensors/shape.js";
import { loadFeatures, type Features } from "./features.js";
import type { Weighted } from "./job.js";
import type { Plan } from "./plan.js";

/** Puts rows, normalised, and their targets into a plan; returns the view of its inputs. */
export type LoadRows = (rows: Uint32Array) => Float32Array;

/**
 * A loader of examples of the plan's input shape: each is copied as it is, bytes becoming floats on
 * the way, and normalised by kernels in the plan, which is several times quicker than a loop in
 * JavaScript.
 * @param features what is kept of the examples; then it is theirs that are put, at the border
 */
export function loaderOf(
  plan: Plan,
  data: Pick<Dataset, "inputs"> & Partial<Dataset>,
  { normalisation, targets: scales }: Pick<Weighted, "normalisation" | "targets">,
  features?: Features,
): LoadRows {
  const { inputs, starts, labels, targets } = data;
  const size = elements(plan.network.input);
  const scaling = normalisation && scalingOf(plan.network.input, normalisation);
  const { kind } = plan.network.loss.target;
  const loadTargets = (rows: Uint32Array): void => {
    if (targets === undefined) {
      const classes = plan.labels();
      if (labels !== undefined) rows.forEach((row, i) => (classes[i] = labels[row]));
      return;
    }
    const into = kind === "classes" ? plan.labels() : plan.targets();
    rows.forEach((row, i) => {
      const start = startOf(targets.starts, row, targets.size);
      into.set(targets.values.subarray(start, start + targets.size), i * targets.size);
    });
    if (scales !== undefined && kind === "numbers")
      for (let i = 0; i < rows.length * targets.size; i++)
        into[i] = (into[i] - channelOf(scales.mean, i)) / channelOf(scales.deviation, i);
  };
  const loadInputs = (rows: Uint32Array): void => {
    const target = plan.inputs();
    rows.forEach((row, i) => {
      const start = startOf(starts, row, size);
      target.set(inputs.subarray(start, start + size), i * size);
    });
    if (scaling !== undefined) plan.scaleInputs(rows.length, scaling.factors, scaling.offsets);
  };
  const { border } = plan;
  if (border !== undefined) border.begins = features !== undefined;
  return (rows) => {
    if (border && features) loadFeatures(border, rows, loadInputs, features);
    else loadInputs(rows);
    // Where the input is the target, both are one.
    if (kind !== "input") loadTargets(rows);
    return plan.inputs();
  };
}

/** The normalisation of one example, element by element, as x -> factor x + offset. */
function scalingOf(
  shape: readonly number[],
  { scale, mean, deviation }: Normalisation,
): { factors: Float32Array; offsets: Float32Array } {
  const length = elements(shape);
  return {
    factors: Float32Array.from({ length }, (_, i) => 1 / (scale * channelOf(deviation, i))),
    offsets: Float32Array.from({ length }, (_, i) => -channelOf(mean, i) / channelOf(deviation, i)),
  };
}
