import * as v from "valibot";
import { activationName } from "./activation.js";
import { convolvedApart } from "./convolution.js";
import { anyPadding, integerOrPair, positiveInteger } from "./fields.js";
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
  resolve: (description, [input], complain) =>
    convolvedApart(description, input, description.multiplier ?? 1, complain),
});
