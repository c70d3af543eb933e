import * as v from "valibot";
import { averageLayer } from "./average.js";
import { poolFields, poolWindow } from "./fields.js";
import { layerKind } from "./layer.js";

/** The mean of each window (of its part inside the image), of an image or a sequence. */
export const avgPool = layerKind({
  schema: v.strictObject({ type: v.literal("avgPool"), ...poolFields }),
  resolve(description, [input], complain) {
    const window = poolWindow(input, description, complain);
    return { layer: averageLayer(input, window) };
  },
});
