import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { positive } from "../layers/fields.js";
import { floats, type Shape } from "../layers/layer.js";
import { lossKind, type Loss } from "./loss.js";

const target = v.optional(v.literal("input", `"input" or nothing`));

type Complain = (field: string, expected: string, got: string) => never;

/** Mean over examples and elements of (y - t)^2. */
export const meanSquaredError = lossKind({
  schema: v.strictObject({ type: v.literal("meanSquaredError"), target }),
  takesLogits: false,
  resolve: ({ target }, output, input, complain) =>
    regression(0, 0, target, output, input, complain),
});

/** Mean over examples and elements of |y - t|. */
export const meanAbsoluteError = lossKind({
  schema: v.strictObject({ type: v.literal("meanAbsoluteError"), target }),
  takesLogits: false,
  resolve: ({ target }, output, input, complain) =>
    regression(1, 0, target, output, input, complain),
});

/** Mean over examples and elements of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2). */
export const huber = lossKind({
  schema: v.strictObject({
    type: v.literal("huber"),
    target,
    delta: v.optional(positive),
  }),
  takesLogits: false,
  resolve: ({ target, delta = 1 }, output, input, complain) =>
    regression(2, delta, target, output, input, complain),
});

/** @param kind the kernel's: 0 squared, 1 absolute, 2 Huber */
function regression(
  kind: 0 | 1 | 2,
  delta: number,
  target: "input" | undefined,
  output: Shape,
  input: Shape,
  complain: Complain,
): Loss {
  const size = elements(output);
  if (target === "input" && size !== elements(input))
    complain("target", `an output of the input's ${elements(input)} elements`, String(size));
  return {
    task: target ?? "numbers",
    target: { kind: target ?? "numbers", size },
    constants: [],
    count: ({ batch }) => batch * size,
    mean: ({ kernels, batch }, { output, target, gradient }, count) =>
      kernels.regressionLoss(kind, output, target, gradient, batch * size, delta, 1 / count) /
      count,
    tangent(run, { output, target }, count, outputTangent, gradientTangent) {
      const [y, t, along, out] = [output, target, outputTangent, gradientTangent].map((address) =>
        floats(run, address, run.batch * size),
      );
      for (let i = 0; i < out.length; i++) {
        const curved = kind === 0 ? 2 : kind === 2 && Math.abs(y[i] - t[i]) <= delta ? 1 : 0;
        out[i] = (curved * along[i]) / count;
      }
    },
  };
}
