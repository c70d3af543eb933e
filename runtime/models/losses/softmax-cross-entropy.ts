import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { floats, type Run } from "../layers/layer.js";
import { weightList } from "./fields.js";
import { lossKind, type Loss, type LossCells } from "./loss.js";

/**
 * Mean over the labels of w_y (log sum exp z - z_y): one class for each example or, of an output
 * [length, classes], for each position; a label of -1 is left out. The weights do not enter the
 * divisor, so that a client which has one class only keeps its weight.
 */
export const softmaxCrossEntropy = lossKind({
  schema: v.strictObject({
    type: v.literal("softmaxCrossEntropy"),
    classWeights: v.optional(weightList),
  }),
  takesLogits: true,
  resolve({ classWeights = [] }, output, _input, complain): Loss {
    const classes = output[output.length - 1];
    const positions = elements(output) / classes;
    if (classWeights.length > 0 && classWeights.length !== classes)
      complain("classWeights", `${classes} numbers, one per class`, String(classWeights.length));
    const labels = ({ memory, batch }: Run, { target }: LossCells) =>
      new Int32Array(memory.buffer, target, batch * positions);
    const weights = (cells: LossCells) => (classWeights.length > 0 ? cells.constants : 0);
    return {
      task: positions === 1 ? "classes" : "sequence",
      target: { kind: "classes", size: positions },
      constants: classWeights,
      count: (run, cells) =>
        labels(run, cells).reduce((count, label) => (label === -1 ? count : count + 1), 0),
      mean(run, cells, count) {
        const { kernels, batch } = run;
        const { output, target, gradient } = cells;
        const rows = batch * positions;
        const by = count === 0 ? 0 : 1 / count;
        const sum = kernels.softmaxCrossEntropy(
          ...([output, target, weights(cells), gradient, 0, rows, classes, by] as const),
        );
        return count === 0 ? 0 : sum / count;
      },
      // dz' = w_y p (z' - sum p z') / count, row by row.
      tangent(run, cells, count, outputTangent, gradientTangent) {
        const size = run.batch * positions * classes;
        const z = floats(run, cells.output, size);
        const along = floats(run, outputTangent, size);
        const out = floats(run, gradientTangent, size);
        labels(run, cells).forEach((label, row) => {
          const from = row * classes;
          const end = from + classes;
          let largest = -Infinity;
          for (let i = from; i < end; i++) largest = Math.max(largest, z[i]);
          let sum = 0;
          let mean = 0;
          for (let i = from; i < end; i++) {
            const e = Math.exp(z[i] - largest);
            sum += e;
            mean += e * along[i];
          }
          const factor = label === -1 ? 0 : (classWeights[label] ?? 1) / count;
          for (let i = from; i < end; i++)
            out[i] = (factor * Math.exp(z[i] - largest) * (along[i] - mean / sum)) / sum;
        });
      },
      hits: ({ kernels, batch }, { output, target }) =>
        kernels.countCorrect(output, target, batch * positions, classes),
    };
  },
});
