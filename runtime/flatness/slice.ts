import type { Part } from "../data/dataset.js";
import { networkOf } from "../models/network.js";
import type { Vector } from "../tensors/layout.js";
import { random } from "../tensors/random.js";
import { elements } from "../tensors/shape.js";
import { weightedOf, type Trainer, type Weighted } from "../training/job.js";

/**
 * A random direction in which each filter is as long as the same filter of the weights (Li et al.
 * 2018, "Visualizing the Loss Landscape of Neural Nets", arXiv:1712.09913, section 4); biases,
 * gamma and beta stand still, and what is frozen. A filter is what makes one output channel or unit: along the kernel's
 * last axis, of a depthwise kernel along its last two.
 */
export function filterNormalisedDirection(
  { description, weights }: Weighted,
  seed: string | number,
  which: number,
): Vector {
  const chance = random(seed, "direction", which);
  const direction = new Float32Array(weights.length);
  for (const { type, parameters, places, learned } of networkOf(description).layers)
    places.forEach(({ offset, size, shape }, i) => {
      if (parameters[i].name !== "kernel" || !learned[i]) return;
      const channelAxes = type === "depthwiseConv2d" ? 2 : 1;
      const filters = elements(shape.slice(-channelAxes));
      for (let j = offset; j < offset + size; j++) direction[j] = chance.normal();
      for (let filter = 0; filter < filters; filter++) {
        let [own, wanted] = [0, 0];
        for (let j = offset + filter; j < offset + size; j += filters) {
          own += direction[j] ** 2;
          wanted += weights[j] ** 2;
        }
        const factor = own === 0 ? 0 : Math.sqrt(wanted / own);
        for (let j = offset + filter; j < offset + size; j += filters) direction[j] *= factor;
      }
    });
  return direction;
}

/** Mean cross-entropy on a square grid of points of a plane through the weights. */
export interface Slice {
  /**
   * Coordinates of the grid's lines along either direction, ascending, the weights at 0 in the
   * middle.
   */
  readonly coordinates: readonly number[];
  /**
   * losses[i][j] at coordinates[i] along the second direction and coordinates[j] along the first.
   */
  readonly losses: readonly (readonly number[])[];
}

/**
 * The loss around a model: over `part`, at `points` by `points` places up to `radius` along two
 * filter-normalised directions.
 */
export async function lossSlice(
  trainer: Trainer,
  model: Weighted,
  part: Part,
  options: {
    readonly radius: number;
    readonly points: number;
    readonly seed: string | number;
    readonly onPoint?: (done: number, all: number) => void;
    readonly signal?: AbortSignal;
  },
): Promise<Slice> {
  const { radius, points, seed, onPoint, signal } = options;
  const weighted = weightedOf(model);
  const [first, second] = [0, 1].map((which) => filterNormalisedDirection(model, seed, which));
  const coordinates = Array.from(
    { length: points },
    (_, i) => radius * ((2 * i) / (points - 1) - 1),
  );
  const losses = coordinates.map(() => new Array<number>(points).fill(NaN));
  let done = 0;
  const one = async (i: number, j: number): Promise<void> => {
    const [a, b] = [coordinates[j], coordinates[i]];
    const weights = model.weights.map((weight, k) => weight + a * first[k] + b * second[k]);
    const { loss, count } = await trainer.evaluate({ ...weighted, weights, part }, { signal });
    losses[i][j] = loss / count;
    onPoint?.(++done, points * points);
  };
  // A row at a time: enough work for all workers, and not the weights of every point in memory at
  // once.
  for (let i = 0; i < points; i++) await Promise.all(coordinates.map((_, j) => one(i, j)));
  return { coordinates, losses };
}
