import * as v from "valibot";
import { convolutionLayer, fullConvolution } from "./convolution.js";
import { activation, checkPatch, imageOf, padding, positiveInteger, windowOf } from "./fields.js";
import { layerKind } from "./layer.js";

/** Convolution of a sequence [length, channels] by filters [kernelSize, channels, filters]. */
export const conv1d = layerKind({
  schema: v.strictObject({
    type: v.literal("conv1d"),
    filters: positiveInteger,
    kernelSize: positiveInteger,
    strides: v.optional(positiveInteger),
    padding,
    activation,
  }),
  takesRelu: true,
  resolve(description, input, relu, complain) {
    const { filters, kernelSize, strides = 1, padding = "valid" } = description;
    const window = windowOf(
      imageOf(input, [2], complain),
      "kernelSize",
      [1, kernelSize],
      [1, strides],
      padding,
      complain,
      filters,
    );
    checkPatch(window, complain);
    return convolutionLayer(
      input,
      window,
      {
        name: "kernel",
        shape: [kernelSize, window.inChannels, filters],
        initial: { fanIn: kernelSize * window.inChannels },
      },
      relu || description.activation === "relu",
      fullConvolution,
    );
  },
});
