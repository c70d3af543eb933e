import * as v from "valibot";
import { averageLayer } from "./average.js";
import { axes, imageOf, integerOrPair, padding, windowOf } from "./fields.js";
import { layerKind } from "./layer.js";

/** The mean of each window (of its part inside the image), of an image or a sequence. */
export const avgPool = layerKind({
  schema: v.strictObject({
    type: v.literal("avgPool"),
    size: integerOrPair,
    strides: v.optional(integerOrPair),
    padding,
  }),
  takesRelu: false,
  resolve(description, input, _relu, complain) {
    const { size, strides = size, padding = "valid" } = description;
    return averageLayer(
      input,
      windowOf(
        imageOf(input, [2, 3], complain),
        "size",
        axes("size", size, input, complain),
        axes("strides", strides, input, complain),
        padding,
        complain,
      ),
    );
  },
});
