import { elements } from "../../tensors/shape.js";
import type { Network } from "../network.js";

// What a client sums over its examples, so that metrics can be read from the sum over all clients.
// It is small, because every device carries it; the metrics themselves are read by the aggregator.

/** Sums over examples, one batch after the other. */
export interface MetricSums {
  readonly values: Float64Array;
  /** Adds a batch: its outputs, and the views of the plan's targets, which may be longer. */
  add(
    outputs: Float32Array,
    labels: Int32Array,
    targets: Float32Array,
    /** Errors of examples that are nothing out of the ordinary, where the input is the target. */
    errors?: Float32Array,
  ): void;
}

/** Columns, or classes, that have sums of their own at most: a report is one frame of text. */
const MOST_COLUMNS = 64;
/** Labels of which the whole distribution of scores is kept at most. */
const MOST_SCORED = 16;
/** Scores fall into bins of 1/4 from -8 to 8, what lies beyond into those at the ends. */
export const BINS = 64;

/** Errors fall into bins of 1/8 octave from 2^-20 to 2^12, what lies beyond into those at the ends. */
export const ERROR_BINS = 256;

/** Numbers of the three layouts, for each column. */
const PER_CLASS = 3;
const PER_LABEL = 3;
const PER_COLUMN = 5;

/** How many columns of an output have sums of their own: all, or one for all. */
export function columnsOf({ output, loss: { task } }: Network): number {
  if (task === "input") return 1;
  const size = task === "numbers" ? elements(output) : output[output.length - 1];
  return size <= MOST_COLUMNS ? size : task === "numbers" ? 1 : 0;
}

/** Whether a label's distribution of scores is kept. */
export const isScored = (columns: number): boolean => columns > 0 && columns <= MOST_SCORED;

/**
 * Sums of zero for a network, in the layout of its task:
 *
 * - `classes`, `sequence`: labels compared, found, among the five largest; then for each class
 *   labels of it, predictions of it, and those that are right
 * - `labels`: for each label those there, those predicted (probability 0.5 and more), and both; then
 *   for each label the scores where it is not there, by bin, and where it is
 * - `numbers`, `input`: for each column e, |e|, e^2, t and t^2, e being output minus target t; of
 *   `input` then how many examples' errors are in each bin
 */
export function sumsOf(network: Network): MetricSums {
  const { task } = network.loss;
  const columns = columnsOf(network);
  const width = network.classes;
  if (task === "labels") {
    const values = new Float64Array(columns * (PER_LABEL + (isScored(columns) ? 2 * BINS : 0)));
    return {
      values,
      add(outputs, _labels, targets) {
        outputs.forEach((score, i) => {
          const column = i % width;
          if (column >= columns) return;
          const there = targets[i] >= 0.5 ? 1 : 0;
          const said = score >= 0 ? 1 : 0;
          const at = PER_LABEL * column;
          values[at] += there;
          values[at + 1] += said;
          values[at + 2] += there * said;
          if (!isScored(columns)) return;
          const bin = Math.max(0, Math.min(BINS - 1, Math.floor(4 * score + BINS / 2)));
          values[PER_LABEL * columns + (2 * column + there) * BINS + bin]++;
        });
      },
    };
  }
  if (task === "classes" || task === "sequence") {
    const values = new Float64Array(3 + PER_CLASS * columns);
    return {
      values,
      add(outputs, labels) {
        for (let row = 0; row * width < outputs.length; row++) {
          const label = labels[row];
          if (label < 0) continue;
          const from = row * width;
          let best = 0;
          let above = 0;
          for (let i = 0; i < width; i++) {
            if (outputs[from + i] > outputs[from + best]) best = i;
            if (outputs[from + i] > outputs[from + label]) above++;
          }
          values[0]++;
          if (best === label) values[1]++;
          if (above < 5) values[2]++;
          if (columns === 0) continue;
          values[3 + PER_CLASS * label]++;
          values[4 + PER_CLASS * best]++;
          if (best === label) values[5 + PER_CLASS * label]++;
        }
      },
    };
  }
  const values = new Float64Array(PER_COLUMN * columns + (task === "input" ? ERROR_BINS : 0));
  return {
    values,
    add(outputs, _labels, targets, errors) {
      errors?.forEach((error) => {
        const bin = Math.floor(8 * Math.log2(error) + 160);
        values[PER_COLUMN + Math.max(0, Math.min(ERROR_BINS - 1, bin))]++;
      });
      outputs.forEach((output, i) => {
        const target = targets[i];
        const error = output - target;
        const at = PER_COLUMN * (i % columns);
        values[at] += error;
        values[at + 1] += Math.abs(error);
        values[at + 2] += error * error;
        values[at + 3] += target;
        values[at + 4] += target * target;
      });
    },
  };
}
