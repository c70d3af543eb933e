import * as v from "valibot";
import { activationName } from "./activation.js";
import { convolved } from "./convolution.js";
import { anyPadding, integerOrPair, positiveInteger } from "./fields.js";
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
  resolve: (description, [input], complain) =>
    convolved(description, input, 3, description.filters, complain),
});
