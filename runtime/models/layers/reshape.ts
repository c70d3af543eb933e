import * as v from "valibot";
import { elements, shapeText } from "../../tensors/shape.js";
import { exampleShape } from "./fields.js";
import { copy, layerKind, type Layer, type Shape } from "./layer.js";

/**
 * The same elements in the same order under another shape. Its gradient is copied only where others
 * read the input too.
 */
const reshaped = (input: Shape, output: Shape): Layer => ({
  input,
  output,
  parameters: [],
  sameElements: true,
  forward: () => 0,
  backward(run, { dy, dx }) {
    if (dx !== 0 && dx !== dy) copy(run, dy, dx, run.batch * elements(input));
  },
  forwardTangent() {},
  backwardTangent(run, { dyTangent, dxTangent }) {
    if (dxTangent !== 0 && dxTangent !== dyTangent)
      copy(run, dyTangent, dxTangent, run.batch * elements(input));
  },
});

/** One axis of all elements, rows first, channels last. */
export const flatten = layerKind({
  schema: v.strictObject({ type: v.literal("flatten") }),
  resolve: (_description, [input]) => ({ layer: reshaped(input, [elements(input)]) }),
});

/** The same elements as [features], [length, channels] or [height, width, channels]. */
export const reshape = layerKind({
  schema: v.strictObject({
    type: v.literal("reshape"),
    shape: exampleShape,
  }),
  resolve({ shape }, [input], complain) {
    if (elements(shape) !== elements(input))
      complain("shape", `${elements(input)} elements, as its input has`, shapeText(shape));
    return { layer: reshaped(input, shape) };
  },
});
