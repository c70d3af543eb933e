import * as v from "valibot";
import { convolutionLayer, depthwiseConvolution } from "./convolution.js";
import {
  activation,
  axes,
  imageOf,
  integerOrPair,
  padding,
  positiveInteger,
  windowOf,
} from "./fields.js";
import { layerKind } from "./layer.js";

/**
 * Each channel of an image convolved by `multiplier` filters of its own: [kernelHeight,
 * kernelWidth, channels, multiplier].
 */
export const depthwiseConv2d = layerKind({
  schema: v.strictObject({
    type: v.literal("depthwiseConv2d"),
    kernelSize: integerOrPair,
    multiplier: v.optional(positiveInteger),
    strides: v.optional(integerOrPair),
    padding,
    activation,
  }),
  takesRelu: true,
  resolve(description, input, relu, complain) {
    const { kernelSize, strides = 1, padding = "valid" } = description;
    const { multiplier = 1 } = description;
    const image = imageOf(input, [3], complain);
    const window = windowOf(
      image,
      "kernelSize",
      axes("kernelSize", kernelSize, input, complain),
      axes("strides", strides, input, complain),
      padding,
      complain,
      image.channels * multiplier,
    );
    const { kernelHeight, kernelWidth, inChannels } = window;
    return convolutionLayer(
      input,
      window,
      {
        name: "kernel",
        shape: [kernelHeight, kernelWidth, inChannels, multiplier],
        initial: { fanIn: kernelHeight * kernelWidth },
      },
      relu || description.activation === "relu",
      depthwiseConvolution,
    );
  },
});
