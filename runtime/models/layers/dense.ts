import * as v from "valibot";
import { NORM, RELU } from "../../wasm/kernels.js";
import { elements } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import { positiveInteger } from "./fields.js";
import { layerKind, type Layer, type Shape } from "./layer.js";
import { bilinearPasses, matrixMap } from "./linear.js";

/** y = x W + b on the last axis, x: [.., features], W: [features, units]. */
export const dense = layerKind({
  schema: v.strictObject({
    type: v.literal("dense"),
    units: positiveInteger,
    activation: v.optional(activationName),
  }),
  takesActivation: true,
  resolve({ units, activation }, [input], complain) {
    if (input.length > 2)
      complain(
        "input",
        "[features] or [length, channels] (put a flatten layer before it)",
        `[${input.join(", ")}]`,
      );
    return { layer: denseLayer(input, units), activation };
  },
});

function denseLayer(input: Shape, units: number): Layer {
  const features = input[input.length - 1];
  const map = matrixMap(elements(input) / features, features, units);
  return {
    input,
    output: [...input.slice(0, -1), units],
    parameters: [
      { name: "kernel", shape: [features, units], initial: { fanIn: features } },
      { name: "bias", shape: [units], initial: { fanIn: features } },
    ],
    fusesRelu: true,
    bias: 1,
    remembers: 0,
    forward(run, cells, relu, norm) {
      const { x, y, parameters } = cells;
      const how = (relu ? RELU : 0) + (norm ? NORM : 0);
      return map.apply(run, cells, how, x, parameters[0], y, parameters[1]);
    },
    ...bilinearPasses(map),
  };
}
