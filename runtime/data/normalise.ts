import { elements } from "../tensors/shape.js";
import { startOf, type Dataset, type Normalisation, type Targets } from "./dataset.js";

/**
 * Known normalisations, by the name of the data set: mean and deviation of the training pixels
 * scaled to [0, 1].
 */
export const normalisations: Readonly<Record<string, Normalisation>> = {
  "cifar-10": {
    scale: 255,
    mean: [0.4914, 0.4822, 0.4465],
    deviation: [0.247, 0.2435, 0.2616],
  },
  /** The numbers of the paper's set-up. */
  "cifar-100": {
    scale: 255,
    mean: [0.5071, 0.4867, 0.4408],
    deviation: [0.2675, 0.2565, 0.2761],
  },
  "fashion-mnist": { scale: 255, mean: [0.286], deviation: [0.353] },
};

/** What gives every column of number targets mean 0 and deviation 1; a column that never changes deviation 1. */
export function targetScaleOf({ size, values, columns }: Targets) {
  const rows = Array.from({ length: values.length / size }, (_, row) => row);
  const { mean, deviation } = channelStatistics({ inputs: values, shape: [size] }, rows, 1);
  return { ...(columns && { columns }), mean, deviation: deviation.map((one) => one || 1) };
}

/**
 * Mean of each channel (last axis) over some rows, and the deviation about it, divided by the count:
 * in float64, in two passes, since sums of squares lose their digits where a mean is large.
 * @param scale what values are divided by first
 */
export function channelStatistics(
  {
    inputs,
    starts,
    shape,
  }: Pick<Dataset, "starts" | "shape"> & {
    readonly inputs: ArrayLike<number>;
  },
  rows: ArrayLike<number>,
  scale: number,
): { mean: number[]; deviation: number[] } {
  const channels = shape[shape.length - 1];
  const size = elements(shape);
  const average = (of: (value: number, channel: number) => number) => {
    const sums = new Float64Array(channels);
    for (let k = 0; k < rows.length; k++) {
      const start = startOf(starts, rows[k], size);
      for (let i = 0; i < size; i++)
        sums[i % channels] += of(inputs[start + i] / scale, i % channels);
    }
    return Array.from(sums, (sum) => (sum * channels) / (rows.length * size));
  };
  const mean = average((value) => value);
  const deviation = average((value, c) => (value - mean[c]) ** 2).map(Math.sqrt);
  return { mean, deviation };
}

/**
 * The normalisation that gives every channel (last axis) of the data mean 0 and deviation 1: bytes are scaled by 255 first.
 * A channel that never changes gets deviation 1. Computed in float64, in two passes.
 * @param rows the rows to measure; left out: all
 */
export function normalisationOf(dataset: Dataset, rows?: Uint32Array): Normalisation {
  const scale = dataset.inputs instanceof Uint8Array ? 255 : 1;
  const all = rows ?? dataset.labels.map((_, row) => row);
  const { mean, deviation } = channelStatistics(dataset, all, scale);
  return { scale, mean, deviation: deviation.map((one) => one || 1) };
}
