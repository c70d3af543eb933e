import * as v from "valibot";
import type { Window } from "../../wasm/window.js";
import { elements } from "../../tensors/shape.js";
import { axes, imageOf, integerOrPair, padding, slid, windowOf } from "./fields.js";
import { layerKind, type Layer, type Shape } from "./layer.js";

/**
 * The largest value of each window, of an image or a sequence; windows do not overlap unless
 * `strides` says so.
 */
export const maxPool = layerKind({
  schema: v.strictObject({
    type: v.literal("maxPool"),
    size: integerOrPair,
    strides: v.optional(integerOrPair),
    padding,
  }),
  takesActivation: false,
  resolve(description, [input], complain) {
    const { size, strides = size, padding = "valid" } = description;
    const window = windowOf(
      imageOf(input, [2, 3], complain),
      "size",
      axes("size", size, input, complain),
      axes("strides", strides, input, complain),
      padding,
      complain,
    );
    return { layer: maxPoolLayer(input, window) };
  },
});

/** The largest over all positions, the first where several are equal: [channels]. */
export const globalMaxPool = layerKind({
  schema: v.strictObject({ type: v.literal("globalMaxPool") }),
  takesActivation: false,
  resolve(_description, [input], complain) {
    const image = imageOf(input, [2, 3], complain);
    const whole = [image.height, image.width] as const;
    const window = windowOf(image, "input", whole, [1, 1], "valid", complain);
    return { layer: maxPoolLayer(input, window, [image.channels]) };
  },
});

function maxPoolLayer(input: Shape, window: Window, output = slid(input, window)): Layer {
  const inSize = elements(input);
  const outSize = elements(output);
  return {
    input,
    output,
    parameters: [],
    remembers: outSize,
    window,
    forward({ kernels, batch, remember }, { window, x, y, memory }) {
      kernels.maxPool(window, batch, x, y, remember ? memory : 0);
      return 0;
    },
    backward({ kernels, batch }, { dy, dx, memory }) {
      if (dx !== 0) kernels.maxPoolBackprop(dy, memory, dx, batch * inSize, batch * outSize);
    },
    backwardThroughRelu: ({ kernels, batch }, { x, y, dy, memory }, bias, penalty) =>
      kernels.maxPoolReluBackprop(
        ...([x, y, dy, memory, bias] as const),
        batch * inSize,
        batch * outSize,
        window.inChannels,
        penalty,
      ),
    forwardTangent: ({ kernels, batch }, { xTangent, yTangent, memory }) =>
      kernels.gatherByIndex(xTangent, memory, yTangent, batch * outSize),
    backwardTangent({ kernels, batch }, { dyTangent, dxTangent, memory }) {
      if (dxTangent !== 0)
        kernels.maxPoolBackprop(dyTangent, memory, dxTangent, batch * inSize, batch * outSize);
    },
  };
}
