import { elements } from "../tensors/shape.js";
import { channelOf, type Dataset, type Normalisation } from "./dataset.js";

/** A root mean square outside of these bounds makes training slow, or lets it diverge. */
const LEAST = 0.2;
const MOST = 5;

/** Deviations that a client's mean may lie off the model's. */
const FAR = 8;

/** Examples that are looked at, evenly spread. */
const SAMPLE = 1000;

/**
 * A sentence about inputs that are far from unit scale, for a model without normalisation, or from
 * what the normalisation was made from: undefined where they are not. Of a table all columns must be small to count as that, since a
 * column of rare ones is small by itself.
 */
export function scaleRemark(dataset: Dataset, normalisation?: Normalisation): string | undefined {
  const { inputs, shape, columns, vocabulary } = dataset;
  // Tokens have no scale.
  if (vocabulary !== undefined) return undefined;
  const channels = shape[shape.length - 1];
  const size = elements(shape);
  const step = Math.max(1, Math.floor(inputs.length / size / SAMPLE)) * size;
  const sums = new Float64Array(channels);
  const squares = new Float64Array(channels);
  let count = 0;
  for (let row = 0; row + size <= inputs.length; row += step) {
    for (let i = 0; i < size; i++) {
      const value = inputs[row + i];
      sums[i % channels] += value;
      squares[i % channels] += value * value;
    }
    count += size / channels;
  }
  const nameOf = (channel: number) =>
    shape.length === 1 && columns
      ? `column ${JSON.stringify(columns[channel].slice(0, 40))}`
      : `channel ${channel}`;
  if (normalisation) {
    const { scale, mean, deviation } = normalisation;
    const off = sums.findIndex(
      (sum, channel) =>
        Math.abs(sum / count / scale - channelOf(mean, channel)) >
        FAR * channelOf(deviation, channel),
    );
    return off < 0
      ? undefined
      : `Inputs are far from those that the run was begun with (${nameOf(off)}: mean ${short(sums[off] / count / scale)}, where they had ${short(channelOf(mean, off))} and deviation ${short(channelOf(deviation, off))}): is its unit another one?`;
  }
  const scales = Array.from(squares, (sum) => Math.sqrt(sum / count));
  const used = [...scales.keys()].filter((channel) => scales[channel] > 0);
  const small = used.filter((channel) => scales[channel] < LEAST);
  const large = used.filter((channel) => scales[channel] > MOST);
  const table = shape.length === 1;
  const allSmall = small.length === used.length;
  const far = large.length > 0 ? large : table && !allSmall ? [] : small;
  if (far.length === 0) return undefined;
  const distance = (channel: number) => Math.abs(Math.log(scales[channel]));
  const worst = far.reduce((a, b) => (distance(b) > distance(a) ? b : a));
  const mean = sums[worst] / count;
  const deviation = Math.sqrt(Math.max(0, squares[worst] / count - mean * mean));
  return `Inputs are far from unit scale (${nameOf(worst)}: mean ${short(mean)}, deviation ${short(deviation)}) and the model has no normalisation: training goes better with means near 0 and deviations near 1 (docs/data.md, "Normalisation")`;
}

const short = (value: number): number => Number(value.toPrecision(2));
