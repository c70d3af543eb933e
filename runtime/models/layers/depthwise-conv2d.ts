import * as v from "valibot";
import { activationName } from "./activation.js";
import { convolutionLayer, depthwiseConvolution } from "./convolution.js";
import { axes, imageOf, integerOrPair, anyPadding, positiveInteger, windowOf } from "./fields.js";
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
    padding: anyPadding,
    activation: v.optional(activationName),
  }),
  takesActivation: true,
  resolve(description, [input], complain) {
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
    const layer = convolutionLayer(
      input,
      window,
      {
        name: "kernel",
        shape: [kernelHeight, kernelWidth, inChannels, multiplier],
        initial: { fanIn: kernelHeight * kernelWidth },
      },
      depthwiseConvolution,
    );
    return { layer, activation: description.activation };
  },
});
