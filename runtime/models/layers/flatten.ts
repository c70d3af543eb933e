import * as v from "valibot";
import { elements, IN_PLACE, layerKind, type Layer } from "./layer.js";

/** One axis of all elements, rows first, channels last. Only the name of the shape changes. */
export const flatten = layerKind({
  schema: v.strictObject({ type: v.literal("flatten") }),
  takesRelu: false,
  resolve: (_description, input): Layer => ({
    input,
    output: [elements(input)],
    parameters: [],
    rectified: false,
    remembers: 0,
    inPlace: IN_PLACE,
    forward: () => 0,
    backward() {},
    forwardTangent() {},
    backwardTangent() {},
  }),
});
