import * as v from "valibot";
import { activationName } from "./activation.js";
import { convolutionLayer, fullConvolution } from "./convolution.js";
import { anyPadding, checkPatch, imageOf, positiveInteger, windowOf } from "./fields.js";
import { layerKind } from "./layer.js";

/** Convolution of a sequence [length, channels] by filters [kernelSize, channels, filters]. */
export const conv1d = layerKind({
  schema: v.strictObject({
    type: v.literal("conv1d"),
    filters: positiveInteger,
    kernelSize: positiveInteger,
    strides: v.optional(positiveInteger),
    padding: anyPadding,
    activation: v.optional(activationName),
  }),
  takesActivation: true,
  resolve(description, [input], complain) {
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
    const layer = convolutionLayer(
      input,
      window,
      {
        name: "kernel",
        shape: [kernelSize, window.inChannels, filters],
        initial: { fanIn: kernelSize * window.inChannels },
      },
      fullConvolution,
    );
    return { layer, activation: description.activation };
  },
});
