import * as v from "valibot";
import { averageLayer } from "./average.js";
import { wholeOf } from "./fields.js";
import { layerKind } from "./layer.js";

/** The mean over all positions: [channels]. */
export const globalAvgPool = layerKind({
  schema: v.strictObject({ type: v.literal("globalAvgPool") }),
  resolve(_description, [input], complain) {
    const { window, output } = wholeOf(input, complain);
    return { layer: averageLayer(input, window, output) };
  },
});
