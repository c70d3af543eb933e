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
  takesActivation: false,
  resolve(description, [input], complain) {
    const { size, strides = size, padding = "valid" } = description;
    const layer = averageLayer(
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
    return { layer };
  },
});
