import * as v from "valibot";
import { elements, shapeText } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import { copy, layerKind, type Layer, type Run, type Shape } from "./layer.js";

/** The sum of all inputs, which have one shape. */
export const add = layerKind({
  schema: v.strictObject({ type: v.literal("add"), activation: v.optional(activationName) }),
  takesActivation: true,
  inputs: "several",
  resolve({ activation }, inputs, complain) {
    const [input] = inputs;
    for (const other of inputs)
      if (shapeText(other) !== shapeText(input))
        complain("inputs", `shapes ${shapeText(input)}`, shapeText(other));
    return { layer: sum(input), activation };
  },
});

function sum(input: Shape): Layer {
  const size = elements(input);
  /** to = the sum of the tensors that are there. */
  const total = (run: Run, tensors: readonly number[], to: number) => {
    const [first, ...others] = tensors.filter((address) => address !== 0);
    copy(run, first, to, run.batch * size);
    for (const other of others) run.kernels.axpy(to, other, run.batch * size, 1);
  };
  return {
    input,
    output: input,
    parameters: [],
    gradientInPlace: true,
    forward(run, { sources, y }) {
      total(
        run,
        sources.map(({ x }) => x),
        y,
      );
      return 0;
    },
    backward(run, { sources, dy }) {
      for (const { dx } of sources) if (dx !== 0 && dx !== dy) copy(run, dy, dx, run.batch * size);
    },
    forwardTangent: (run, { sources, yTangent }) =>
      total(
        run,
        sources.map(({ xTangent }) => xTangent),
        yTangent,
      ),
    backwardTangent(run, { sources, dyTangent }) {
      for (const { dxTangent } of sources)
        if (dxTangent !== 0) copy(run, dyTangent, dxTangent, run.batch * size);
    },
  };
}
