import * as v from "valibot";
import { activationName } from "./activation.js";
import { convolutionLayer, fullConvolution } from "./convolution.js";
import {
  axes,
  checkPatch,
  imageOf,
  integerOrPair,
  anyPadding,
  positiveInteger,
  windowOf,
} from "./fields.js";
import { layerKind } from "./layer.js";

/**
 * Convolution of an image [height, width, channels] by filters [kernelHeight, kernelWidth,
 * channels, filters].
 */
export const conv2d = layerKind({
  schema: v.strictObject({
    type: v.literal("conv2d"),
    filters: positiveInteger,
    kernelSize: integerOrPair,
    strides: v.optional(integerOrPair),
    padding: anyPadding,
    activation: v.optional(activationName),
  }),
  takesActivation: true,
  resolve(description, [input], complain) {
    const { filters, kernelSize, strides = 1, padding = "valid" } = description;
    const window = windowOf(
      imageOf(input, [3], complain),
      "kernelSize",
      axes("kernelSize", kernelSize, input, complain),
      axes("strides", strides, input, complain),
      padding,
      complain,
      filters,
    );
    checkPatch(window, complain);
    const { kernelHeight, kernelWidth, inChannels } = window;
    const layer = convolutionLayer(
      input,
      window,
      {
        name: "kernel",
        shape: [kernelHeight, kernelWidth, inChannels, filters],
        initial: { fanIn: kernelHeight * kernelWidth * inChannels },
      },
      fullConvolution,
    );
    return { layer, activation: description.activation };
  },
});
