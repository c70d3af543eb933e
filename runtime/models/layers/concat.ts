import * as v from "valibot";
import { elements, shapeText } from "../../tensors/shape.js";
import { layerKind, type Cells, type Layer, type Run, type Shape } from "./layer.js";

/** All inputs side by side on the last axis; the others are the same. */
export const concat = layerKind({
  schema: v.strictObject({ type: v.literal("concat") }),
  inputs: "several",
  resolve(_description, inputs, complain) {
    const [{ length }] = inputs;
    const outer = inputs[0].slice(0, -1);
    for (const other of inputs)
      if (shapeText(other.slice(0, -1)) !== shapeText(outer))
        complain(
          "inputs",
          `shapes ${shapeText([...outer, 0]).replace("0]", "..]")}`,
          shapeText(other),
        );
    const widths = inputs.map((shape) => shape[length - 1]);
    return { layer: sideBySide(inputs[0], outer, widths) };
  },
});

function sideBySide(input: Shape, outer: Shape, widths: readonly number[]): Layer {
  const rows = elements(outer);
  const width = widths.reduce((a, b) => a + b);
  const offsets = widths.map((_, i) => widths.slice(0, i).reduce((a, b) => a + b, 0));
  const join = ({ kernels, batch }: Run, from: readonly number[], to: number) =>
    from.forEach((address, i) => {
      if (address !== 0)
        kernels.copyColumns(
          address,
          widths[i],
          to + 4 * offsets[i],
          width,
          batch * rows,
          widths[i],
        );
    });
  const part = ({ kernels, batch }: Run, from: number, to: readonly number[]) =>
    to.forEach((address, i) => {
      if (address !== 0)
        kernels.copyColumns(
          from + 4 * offsets[i],
          width,
          address,
          widths[i],
          batch * rows,
          widths[i],
        );
    });
  return {
    input,
    output: [...outer, width],
    parameters: [],
    forward(run, { sources, y }) {
      join(
        run,
        sources.map(({ x }) => x),
        y,
      );
      return 0;
    },
    backward: (run, { sources, dy }) =>
      part(
        run,
        dy,
        sources.map(({ dx }) => dx),
      ),
    forwardTangent(run, { sources, yTangent }: Cells) {
      // Inputs without a tangent leave zeros.
      new Float32Array(run.memory.buffer, yTangent, run.batch * rows * width).fill(0);
      join(
        run,
        sources.map(({ xTangent }) => xTangent),
        yTangent,
      );
    },
    backwardTangent: (run, { sources, dyTangent }) =>
      part(
        run,
        dyTangent,
        sources.map(({ dxTangent }) => dxTangent),
      ),
  };
}
