import * as v from "valibot";
import { activationName } from "./activation.js";
import { convolved } from "./convolution.js";
import { anyPadding, positiveInteger } from "./fields.js";
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
  resolve: (description, [input], complain) =>
    convolved(description, input, 2, description.filters, complain),
});
