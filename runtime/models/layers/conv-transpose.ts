import * as v from "valibot";
import { activationName } from "./activation.js";
import { transposed } from "./convolution.js";
import { integerOrPair, padding, positiveInteger } from "./fields.js";
import { layerKind } from "./layer.js";

const common = {
  filters: positiveInteger,
  strides: v.optional(integerOrPair),
  padding,
  activation: v.optional(activationName),
};

/**
 * The transposed convolution of an image: "same" gives size x stride pixels, "valid" (size - 1) x
 * stride + kernel. Filters [kernelHeight, kernelWidth, filters, channels].
 */
export const conv2dTranspose = layerKind({
  schema: v.strictObject({
    type: v.literal("conv2dTranspose"),
    kernelSize: integerOrPair,
    ...common,
  }),
  takesActivation: true,
  resolve: (description, [input], complain) =>
    transposed(description, input, 3, description.filters, complain),
});

/** The same along a sequence [length, channels]. */
export const conv1dTranspose = layerKind({
  schema: v.strictObject({
    type: v.literal("conv1dTranspose"),
    kernelSize: positiveInteger,
    ...common,
  }),
  takesActivation: true,
  resolve: (description, [input], complain) =>
    transposed(description, input, 2, description.filters, complain),
});
