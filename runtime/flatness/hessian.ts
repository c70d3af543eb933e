import type { Part } from "../data/dataset.js";
import { networkOf } from "../models/network.js";
import type { Layout } from "../tensors/layout.js";
import { weightedOf, type Trainer, type Weighted } from "../training/job.js";
import type { Product } from "./lanczos.js";

/**
 * Some neighbouring parameters, whose block of the Hessian's diagonal can be looked at by itself.
 */
export interface Block {
  readonly name: string;
  /** Index of the first one in the flat vector. */
  readonly offset: number;
  /** How many: the dimension of the block. */
  readonly size: number;
}

/** All parameters of a layout: of what learns in a network, since nothing else has a curvature. */
export const wholeOf = ({ size }: Layout): Block => ({
  name: "all",
  offset: 0,
  size,
});

/** One block for each layer that learns, named `${index}.${type}` as in the description. */
export function layersOf(description: Weighted["description"]): Block[] {
  const { layers, shares } = networkOf(description);
  const { parameters } = shares.learning.layout;
  return layers.flatMap(({ index, type }) => {
    const own = parameters.filter(({ name }) => name.startsWith(`${index}.`));
    if (own.length === 0) return [];
    const size = own.reduce((sum, { size }) => sum + size, 0);
    return [{ name: `${index}.${type}`, offset: own[0].offset, size }];
  });
}

/**
 * Examples that one worker takes at a time. Always the same, and summed in their order, so that a
 * product does not depend on how many workers there are.
 */
const PIECE = 128;

/**
 * Products with a block of the Hessian of the mean loss over `part` (without MAN, weight
 * decay and augmentation), exact by Pearlmutter's R-operator (Trainer.hessianProduct). The pieces
 * of the part are shared among the trainer's workers.
 */
export function hessian(
  trainer: Trainer,
  model: Weighted,
  part: Part,
  signal?: AbortSignal,
): (block: Block) => Product {
  const weighted = weightedOf(model);
  const { layout } = networkOf(model.description).shares.learning;
  const { dataset, rows } = part;
  const pieces: Part[] = [];
  for (let from = 0; from < rows.length; from += PIECE)
    pieces.push({ dataset, rows: rows.slice(from, from + PIECE) });
  return ({ offset, size }) =>
    async (v) => {
      const direction = new Float32Array(layout.size);
      direction.set(v, offset);
      const sums = await Promise.all(
        pieces.map((part) => trainer.hessianProduct({ ...weighted, part, direction }, { signal })),
      );
      const product = new Float64Array(size);
      for (const sum of sums) for (let i = 0; i < size; i++) product[i] += sum[offset + i];
      return product.map((value) => value / rows.length);
    };
}
