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
    const { inHeight, inWidth, inChannels, outHeight, outWidth } = window;
    const { kernelHeight, kernelWidth, strideHeight, strideWidth } = window;
    const { padTop, padLeft } = window;
    const output = slid(input, window, inChannels);
    const inSize = elements(input);
    const outSize = elements(output);
    return {
      input,
      output,
      parameters: [],
      rectified: false,
      remembers: outSize,
      inPlace: OUT_OF_PLACE,
      forward({ kernels, batch, remember }, { x, y, memory }) {
        // prettier-ignore
        kernels.maxPool(x, y, remember ? memory : 0, batch, inHeight, inWidth, inChannels, outHeight, outWidth,
          kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft);
        return 0;
      },
      backward: ({ kernels, batch }, { dy, dx, memory }) =>
        // prettier-ignore
        kernels.maxPoolBackprop(dy, memory, dx, batch * inSize, batch * outSize),
      backwardThroughRelu: ({ kernels, batch }, cells, bias, penalty) =>
        // prettier-ignore
        kernels.maxPoolReluBackprop(cells.x, cells.y, cells.dy, cells.memory, bias,
          batch * inSize, batch * outSize, inChannels, penalty),
      forwardTangent: ({ kernels, batch }, { xTangent, yTangent, memory }) =>
        // prettier-ignore
        kernels.gatherByIndex(xTangent, memory, yTangent, batch * outSize),
      backwardTangent: ({ kernels, batch }, { dyTangent, dxTangent, memory }) =>
        // prettier-ignore
        kernels.maxPoolBackprop(dyTangent, memory, dxTangent, batch * inSize, batch * outSize),
    };
  },
});
