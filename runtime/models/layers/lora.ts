import * as v from "valibot";
import { ACCUMULATE, NORM, RELU } from "../../wasm/kernels.js";
import { elements } from "../../tensors/shape.js";
import { positive, positiveInteger } from "./fields.js";
import { floats, regions, wordsOf, type Layer, type Run, type Shape } from "./layer.js";
import { matrixMap } from "./linear.js";

/** The field of a layer whose kernel stays as it is, while a product of two small ones learns. */
export const lora = v.strictObject(
  {
    rank: positiveInteger,
    alpha: positive,
  },
  "an object with rank and alpha",
);

type Lora = v.InferOutput<typeof lora>;

/**
 * Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) of the map x W + b on the last axis: y = x W
 * + b + h B, h = alpha/rank x A. A and B learn, W and b do not. B begins at zero, so y begins as it
 * would be without the two.
 */
export function adaptedDense(input: Shape, units: number, { rank, alpha }: Lora): Layer {
  const features = input[input.length - 1];
  const positions = elements(input) / features;
  const base = matrixMap(positions, features, units);
  const down = matrixMap(positions, features, rank);
  const up = matrixMap(positions, rank, units);
  /** h, and the gradient with respect to x A; of both the tangents. */
  const words = { h: positions * rank, d: positions * rank };
  const kept = (run: Run, address: number) => regions(address, run.batch, words);
  const scale = (run: Run, address: number) => {
    const all = floats(run, address, run.batch * positions * rank);
    for (let i = 0; i < all.length; i++) all[i] *= alpha / rank;
  };
  return {
    input,
    output: [...input.slice(0, -1), units],
    parameters: [
      { name: "kernel", shape: [features, units], initial: { fanIn: features }, learns: false },
      { name: "bias", shape: [units], initial: { fanIn: features }, learns: false },
      { name: "loraA", shape: [features, rank], initial: { fanIn: features }, learns: true },
      { name: "loraB", shape: [rank, units], initial: { constant: 0 }, learns: true },
    ],
    fusesRelu: true,
    remembers: wordsOf(words),
    remembersTangents: wordsOf(words),
    forward(run, cells, relu, norm) {
      const { x, y, memory, parameters } = cells;
      const [kernel, bias, a, b] = parameters;
      const { h } = kept(run, memory);
      base.apply(run, cells, 0, x, kernel, y, bias);
      down.apply(run, cells, 0, x, a, h, 0);
      scale(run, h);
      const how = ACCUMULATE + (relu ? RELU : 0) + (norm ? NORM : 0);
      return up.apply(run, cells, how, h, b, y, 0);
    },
    backward(run, cells) {
      const { x, dy, dx, memory, parameters, gradients } = cells;
      const [kernel, , a, b] = parameters;
      const { h, d } = kept(run, memory);
      up.toKernel(run, cells, 0, h, dy, gradients[3]);
      up.toInput(run, cells, 0, dy, b, d);
      scale(run, d);
      down.toKernel(run, cells, 0, x, d, gradients[2]);
      if (dx === 0) return;
      base.toInput(run, cells, 0, dy, kernel, dx);
      down.toInput(run, cells, ACCUMULATE, d, a, dx);
    },
    forwardTangent(run, cells) {
      const { x, xTangent, yTangent, memory, tangentMemory, parameters, directions } = cells;
      const [kernel, , a, b] = parameters;
      const [, , aTangent, bTangent] = directions;
      const { h } = kept(run, memory);
      const { h: hTangent } = kept(run, tangentMemory);
      down.apply(run, cells, 0, x, aTangent, hTangent, 0);
      if (xTangent !== 0) down.apply(run, cells, ACCUMULATE, xTangent, a, hTangent, 0);
      scale(run, hTangent);
      up.apply(run, cells, 0, h, bTangent, yTangent, 0);
      up.apply(run, cells, ACCUMULATE, hTangent, b, yTangent, 0);
      if (xTangent !== 0) base.apply(run, cells, ACCUMULATE, xTangent, kernel, yTangent, 0);
    },
    backwardTangent(run, cells) {
      const { x, xTangent, dy, dyTangent, dxTangent, memory, tangentMemory } = cells;
      const { parameters, directions, products } = cells;
      const [kernel, , a, b] = parameters;
      const [, , aTangent, bTangent] = directions;
      const { h, d } = kept(run, memory);
      const { h: hTangent, d: dTangent } = kept(run, tangentMemory);
      up.toKernel(run, cells, 0, h, dyTangent, products[3]);
      up.toKernel(run, cells, ACCUMULATE, hTangent, dy, products[3]);
      up.toInput(run, cells, 0, dyTangent, b, dTangent);
      up.toInput(run, cells, ACCUMULATE, dy, bTangent, dTangent);
      scale(run, dTangent);
      down.toKernel(run, cells, 0, x, dTangent, products[2]);
      if (xTangent !== 0) down.toKernel(run, cells, ACCUMULATE, xTangent, d, products[2]);
      if (dxTangent === 0) return;
      base.toInput(run, cells, 0, dyTangent, kernel, dxTangent);
      down.toInput(run, cells, ACCUMULATE, dTangent, a, dxTangent);
      down.toInput(run, cells, ACCUMULATE, d, aTangent, dxTangent);
    },
  };
}
