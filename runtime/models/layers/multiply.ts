import * as v from "valibot";
import { elements, shapeText } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import {
  floats,
  layerKind,
  type Cells,
  type Layer,
  type Run,
  type Shape,
  type Source,
} from "./layer.js";

/**
 * The product of all inputs, element by element. One of [channels] counts at every position of the
 * others, as a gate of squeeze-and-excite does (Hu et al. 2018, arXiv:1709.01507).
 */
export const multiply = layerKind({
  schema: v.strictObject({ type: v.literal("multiply"), activation: v.optional(activationName) }),
  takesActivation: true,
  inputs: "several",
  resolve({ activation }, inputs, complain) {
    const output = inputs.reduce((a, b) => (elements(b) > elements(a) ? b : a));
    const channels = output[output.length - 1];
    for (const input of inputs)
      if (shapeText(input) !== shapeText(output) && shapeText(input) !== shapeText([channels]))
        complain(
          "inputs",
          `shapes ${shapeText(output)} or ${shapeText([channels])}`,
          shapeText(input),
        );
    return { layer: product(inputs, output), activation };
  },
});

function product(inputs: readonly Shape[], output: Shape): Layer {
  const size = elements(output);
  const channels = output[output.length - 1];
  const sizes = inputs.map(elements);
  /** The place in input i's tensor that belongs to the output's element `at` of an example. */
  const place = (i: number, example: number, at: number) =>
    example * sizes[i] + (sizes[i] === size ? at : at % channels);
  /** One tensor of each input. */
  const views = (run: Run, { sources }: Cells, of: keyof Source) =>
    sources.map((source, i) =>
      source[of] === 0 ? undefined : floats(run, source[of], run.batch * sizes[i]),
    );
  /** The product of all inputs but one, where the output's element `at` of an example is. */
  const others = (x: readonly (Float32Array | undefined)[], b: number, at: number, but: number) => {
    let value = 1;
    for (let i = 0; i < x.length; i++) if (i !== but) value *= x[i]![place(i, b, at)];
    return value;
  };
  const each = ({ batch }: Run, visit: (example: number, at: number, here: number) => void) => {
    for (let b = 0; b < batch; b++) for (let at = 0; at < size; at++) visit(b, at, b * size + at);
  };
  /** Writes one tensor of each input where it is wanted: the sums of what belongs to its elements. */
  const gather = (
    run: Run,
    cells: Cells,
    to: keyof Source,
    of: (input: number, example: number, at: number, here: number) => number,
  ) =>
    views(run, cells, to).forEach((view, i) => {
      if (view === undefined) return;
      const sums = new Float64Array(view.length);
      each(run, (b, at, here) => {
        sums[place(i, b, at)] += of(i, b, at, here);
      });
      view.set(sums);
    });

  return {
    input: inputs[0],
    output,
    parameters: [],
    forward(run, cells) {
      const x = views(run, cells, "x");
      const out = floats(run, cells.y, run.batch * size);
      each(run, (b, at, here) => {
        out[here] = others(x, b, at, -1);
      });
      return 0;
    },
    backward(run, cells) {
      const x = views(run, cells, "x");
      const dys = floats(run, cells.dy, run.batch * size);
      gather(run, cells, "dx", (i, b, at, here) => dys[here] * others(x, b, at, i));
    },
    forwardTangent(run, cells) {
      const x = views(run, cells, "x");
      const tangents = views(run, cells, "xTangent");
      const out = floats(run, cells.yTangent, run.batch * size);
      each(run, (b, at, here) => {
        let sum = 0;
        tangents.forEach((tangent, i) => {
          if (tangent !== undefined) sum += tangent[place(i, b, at)] * others(x, b, at, i);
        });
        out[here] = sum;
      });
    },
    backwardTangent(run, cells) {
      const x = views(run, cells, "x");
      const tangents = views(run, cells, "xTangent");
      const [dys, dyTangents] = [cells.dy, cells.dyTangent].map((at) =>
        floats(run, at, run.batch * size),
      );
      gather(run, cells, "dxTangent", (i, b, at, here) => {
        let rest = 1;
        let restTangent = 0;
        for (let j = 0; j < x.length; j++) {
          if (j === i) continue;
          const value = x[j]![place(j, b, at)];
          restTangent = restTangent * value + rest * (tangents[j]?.[place(j, b, at)] ?? 0);
          rest *= value;
        }
        return dyTangents[here] * rest + dys[here] * restTangent;
      });
    },
  };
}
