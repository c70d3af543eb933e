import * as v from "valibot";
import { convolutionLayer, fullConvolution } from "./convolution.js";
import {
  activation,
  axes,
  checkPatch,
  imageOf,
  integerOrPair,
  padding,
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
    padding,
    activation,
  }),
  takesRelu: true,
  resolve(description, input, relu, complain) {
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
    return convolutionLayer(
      input,
      window,
      {
        name: "kernel",
        shape: [kernelHeight, kernelWidth, inChannels, filters],
        initial: { fanIn: kernelHeight * kernelWidth * inChannels },
      },
      relu || description.activation === "relu",
      fullConvolution,
    );
  },
});
