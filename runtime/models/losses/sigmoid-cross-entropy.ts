import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { floats } from "../layers/layer.js";
import { weightList } from "./fields.js";
import { lossKind, type Loss } from "./loss.js";

/**
 * Mean over examples and outputs of w y softplus(-z) + (1 - y) softplus(z), targets y from 0 to 1:
 * several labels at once, or one that is there or not.
 */
export const sigmoidCrossEntropy = lossKind({
  schema: v.strictObject({
    type: v.literal("sigmoidCrossEntropy"),
    positiveWeights: v.optional(weightList),
  }),
  takesLogits: true,
  resolve({ positiveWeights = [] }, output, _input, complain): Loss {
    const columns = output[output.length - 1];
    const size = elements(output);
    if (positiveWeights.length > 0 && positiveWeights.length !== columns)
      complain(
        "positiveWeights",
        `${columns} numbers, one per output`,
        String(positiveWeights.length),
      );
    return {
      task: "labels",
      target: { kind: "numbers", size, isShare: true },
      constants: positiveWeights,
      count: ({ batch }) => batch * size,
      mean({ kernels, batch }, { output, target, constants, gradient }, count) {
        const weights = positiveWeights.length > 0 ? constants : 0;
        const rows = (batch * size) / columns;
        return (
          kernels.sigmoidCrossEntropy(output, target, weights, gradient, rows, columns, 1 / count) /
          count
        );
      },
      // dz' = (w y + 1 - y) s(z) (1 - s(z)) z' / count
      tangent(run, { output, target }, count, outputTangent, gradientTangent) {
        const [z, y, along, out] = [output, target, outputTangent, gradientTangent].map((address) =>
          floats(run, address, run.batch * size),
        );
        for (let i = 0; i < out.length; i++) {
          const s = 1 / (1 + Math.exp(-z[i]));
          const weight = (positiveWeights[i % columns] ?? 1) * y[i] + 1 - y[i];
          out[i] = (weight * s * (1 - s) * along[i]) / count;
        }
      },
    };
  },
});
