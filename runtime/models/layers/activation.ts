import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { ACTIVATIONS, type ActivationName } from "./activations.js";
import { copy, layerKind, type Layer, type Resolved, type Shape } from "./layer.js";

const NAMES = Object.keys(ACTIVATIONS) as ActivationName[];

/** The name of an activation. */
export const activationName = v.picklist(NAMES, `one of ${NAMES.join(", ")}`);

/** An activation as a layer of its own, where the layer before cannot take it in: the plan's work. */
function identity(input: Shape): Layer {
  const size = elements(input);
  return {
    input,
    output: input,
    parameters: [],
    gradientInPlace: true,
    forward(run, { x, y }) {
      copy(run, x, y, run.batch * size);
      return 0;
    },
    backward(run, { dy, dx }) {
      if (dx !== 0 && dx !== dy) copy(run, dy, dx, run.batch * size);
    },
    forwardTangent: (run, { xTangent, yTangent }) =>
      copy(run, xTangent, yTangent, run.batch * size),
    backwardTangent(run, { dyTangent, dxTangent }) {
      if (dxTangent !== 0) copy(run, dyTangent, dxTangent, run.batch * size);
    },
  };
}

/** y = f(x), element by element. */
export const activation = layerKind({
  schema: v.strictObject({ type: v.literal("activation"), activation: activationName }),
  resolve: ({ activation }, [input]): Resolved => ({ layer: identity(input), activation }),
});

/** y = max(x, 0): the same as `{ type: "activation", activation: "relu" }`. */
export const relu = layerKind({
  schema: v.strictObject({ type: v.literal("relu") }),
  resolve: (_description, [input]): Resolved => ({ layer: identity(input), activation: "relu" }),
});
