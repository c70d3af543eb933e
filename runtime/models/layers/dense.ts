import * as v from "valibot";
import { elements, shapeText } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import { positiveInteger } from "./fields.js";
import { layerKind, type Layer, type Shape } from "./layer.js";
import { bilinearPasses, matrixMap } from "./linear.js";
import { adaptedDense, lora } from "./lora.js";

/** y = x W + b on the last axis, x: [.., features], W: [features, units]; with `lora` adapted. */
export const dense = layerKind({
  schema: v.strictObject({
    type: v.literal("dense"),
    units: positiveInteger,
    activation: v.optional(activationName),
    lora: v.optional(lora),
  }),
  takesActivation: true,
  resolve({ units, activation, lora }, [input], complain) {
    if (input.length > 2)
      complain(
        "input",
        "[features] or [length, channels] (put a flatten layer before it)",
        shapeText(input),
      );
    const layer = lora ? adaptedDense(input, units, lora) : denseLayer(input, units);
    return { layer, activation };
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
    ...bilinearPasses(map),
  };
}
