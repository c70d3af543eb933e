import * as v from "valibot";
import { elements, shapeText } from "../../tensors/shape.js";
import { positiveInteger, sequenceOf } from "./fields.js";
import { copy, floats, layerKind, type Layer, type Run } from "./layer.js";

/** A row of a learned table for each token: [length] becomes [length, units]. */
export const embedding = layerKind({
  schema: v.strictObject({
    type: v.literal("embedding"),
    vocabulary: positiveInteger,
    units: positiveInteger,
  }),
  resolve({ vocabulary, units }, [input], complain) {
    if (input.length !== 1) complain("input", "[length] of tokens", shapeText(input));
    const [length] = input;
    const lookUp = ({ kernels, batch }: Run, x: number, table: number, y: number) =>
      kernels.lookUp(x, table, y, batch * length, units, vocabulary);
    const toTable = ({ kernels, batch }: Run, x: number, dy: number, table: number) =>
      kernels.lookUpBackprop(x, dy, table, batch * length, units, vocabulary);
    const layer: Layer = {
      input,
      output: [length, units],
      parameters: [{ name: "kernel", shape: [vocabulary, units], initial: { fanIn: units } }],
      forward(run, { x, y, parameters }) {
        lookUp(run, x, parameters[0], y);
        return 0;
      },
      backward: (run, { x, dy, gradients }) => toTable(run, x, dy, gradients[0]),
      forwardTangent: (run, { x, yTangent, directions }) => lookUp(run, x, directions[0], yTangent),
      backwardTangent: (run, { x, dyTangent, products }) => toTable(run, x, dyTangent, products[0]),
    };
    return { layer };
  },
});

/** x + P: a learned vector for each position of [length, channels]. */
export const positionEmbedding = layerKind({
  schema: v.strictObject({ type: v.literal("positionEmbedding") }),
  resolve(_description, [input], complain) {
    const [, channels] = sequenceOf(input, complain);
    const size = elements(input);
    /** y = x + P for each example; without x, y = P. */
    const shift = (run: Run, x: number, p: number, y: number) => {
      if (x === 0) floats(run, y, run.batch * size).fill(0);
      else copy(run, x, y, run.batch * size);
      for (let b = 0; b < run.batch; b++) run.kernels.axpy(y + 4 * b * size, p, size, 1);
    };
    const layer: Layer = {
      input,
      output: input,
      parameters: [{ name: "kernel", shape: input, initial: { fanIn: channels } }],
      forward(run, { x, y, parameters }) {
        shift(run, x, parameters[0], y);
        return 0;
      },
      backward(run, { dy, dx, gradients }) {
        if (gradients[0] !== 0) run.kernels.sumRows(dy, gradients[0], run.batch, size);
        if (dx !== 0) copy(run, dy, dx, run.batch * size);
      },
      forwardTangent: (run, { xTangent, yTangent, directions }) =>
        shift(run, xTangent, directions[0], yTangent),
      backwardTangent(run, { dyTangent, dxTangent, products }) {
        run.kernels.sumRows(dyTangent, products[0], run.batch, size);
        if (dxTangent !== 0) copy(run, dyTangent, dxTangent, run.batch * size);
      },
    };
    return { layer };
  },
});
