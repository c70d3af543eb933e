import * as v from "valibot";
import { averageLayer } from "./average.js";
import { imageOf, windowOf } from "./fields.js";
import { layerKind } from "./layer.js";

/** The mean over all positions: [channels]. */
export const globalAvgPool = layerKind({
  schema: v.strictObject({ type: v.literal("globalAvgPool") }),
  takesActivation: false,
  resolve(_description, [input], complain) {
    const image = imageOf(input, [2, 3], complain);
    const whole = [image.height, image.width] as const;
    const layer = averageLayer(input, windowOf(image, "input", whole, [1, 1], "valid", complain), [
      image.channels,
    ]);
    return { layer };
  },
});
