import * as v from "valibot";
import { axes, imageOf, integerOrPair, padding, slid, windowOf } from "./fields.js";
import { elements, layerKind, OUT_OF_PLACE, type Layer } from "./layer.js";

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
  takesRelu: false,
  resolve(description, input, _relu, complain): Layer {
    const { size, strides = size, padding = "valid" } = description;
    const window = windowOf(
      imageOf(input, [2, 3], complain),
      "size",
      axes("size", size, input, complain),
      axes("strides", strides, input, complain),
      padding,
      complain,
    );
    const output = slid(input, window);
    const inSize = elements(input);
    const outSize = elements(output);
    return {
      input,
      output,
      parameters: [],
      rectified: false,
      remembers: outSize,
      window,
      inPlace: OUT_OF_PLACE,
      forward({ kernels, batch, remember }, { window, x, y, memory }) {
        kernels.maxPool(window, batch, x, y, remember ? memory : 0);
        return 0;
      },
      backward: ({ kernels, batch }, { dy, dx, memory }) =>
        kernels.maxPoolBackprop(dy, memory, dx, batch * inSize, batch * outSize),
      backwardThroughRelu: ({ kernels, batch }, cells, bias, penalty) =>
        kernels.maxPoolReluBackprop(
          cells.x,
          cells.y,
          cells.dy,
          cells.memory,
          bias,
          batch * inSize,
          batch * outSize,
          window.inChannels,
          penalty,
        ),
      forwardTangent: ({ kernels, batch }, { xTangent, yTangent, memory }) =>
        kernels.gatherByIndex(xTangent, memory, yTangent, batch * outSize),
      backwardTangent: ({ kernels, batch }, { dyTangent, dxTangent, memory }) =>
        kernels.maxPoolBackprop(dyTangent, memory, dxTangent, batch * inSize, batch * outSize),
    };
  },
});
