import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import { floats, layerKind, type Layer, type Run, type Shape } from "./layer.js";

const text = (shape: Shape) => `[${shape.join(", ")}]`;

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
      if (text(input) !== text(output) && text(input) !== text([channels]))
        complain("inputs", `shapes ${text(output)} or ${text([channels])}`, text(input));
    return { layer: product(inputs, output), activation };
  },
});

function product(inputs: readonly Shape[], output: Shape): Layer {
  const size = elements(output);
  const channels = output[output.length - 1];
  const sizes = inputs.map(elements);
  /** The value of a tensor of input i where the output's element `at` of an example is. */
  const place = (i: number, example: number, at: number) =>
    example * sizes[i] + (sizes[i] === size ? at : at % channels);
  const views = (run: Run, addresses: readonly number[]) =>
    addresses.map((address, i) =>
      address === 0 ? undefined : floats(run, address, run.batch * sizes[i]),
    );

  /** Adds, over all elements, `of(example, element)` to input i's tensor `to`. */
  const gather = (
    run: Run,
    to: Float32Array,
    i: number,
    of: (example: number, at: number) => number,
  ) => {
    const sums = new Float64Array(to.length);
    for (let b = 0; b < run.batch; b++)
      for (let at = 0; at < size; at++) sums[place(i, b, at)] += of(b, at);
    to.set(sums);
  };

  return {
    input: inputs[0],
    output,
    parameters: [],
    remembers: 0,
    forward(run, { sources, y }) {
      const x = views(
        run,
        sources.map(({ x }) => x),
      );
      const out = floats(run, y, run.batch * size);
      for (let b = 0; b < run.batch; b++)
        for (let at = 0; at < size; at++) {
          let value = 1;
          for (let i = 0; i < x.length; i++) value *= x[i]![place(i, b, at)];
          out[b * size + at] = value;
        }
      return 0;
    },
    backward(run, { sources, dy }) {
      const x = views(
        run,
        sources.map(({ x }) => x),
      );
      const dys = floats(run, dy, run.batch * size);
      views(
        run,
        sources.map(({ dx }) => dx),
      ).forEach((dx, i) => {
        if (dx === undefined) return;
        gather(run, dx, i, (b, at) => {
          let value = dys[b * size + at];
          for (let j = 0; j < x.length; j++) if (j !== i) value *= x[j]![place(j, b, at)];
          return value;
        });
      });
    },
    forwardTangent(run, { sources, yTangent }) {
      const x = views(
        run,
        sources.map(({ x }) => x),
      );
      const tangents = views(
        run,
        sources.map(({ xTangent }) => xTangent),
      );
      const out = floats(run, yTangent, run.batch * size);
      for (let b = 0; b < run.batch; b++)
        for (let at = 0; at < size; at++) {
          let sum = 0;
          tangents.forEach((tangent, i) => {
            if (tangent === undefined) return;
            let value = tangent[place(i, b, at)];
            for (let j = 0; j < x.length; j++) if (j !== i) value *= x[j]![place(j, b, at)];
            sum += value;
          });
          out[b * size + at] = sum;
        }
    },
    backwardTangent(run, { sources, dy, dyTangent }) {
      const x = views(
        run,
        sources.map(({ x }) => x),
      );
      const tangents = views(
        run,
        sources.map(({ xTangent }) => xTangent),
      );
      const [dys, dyTangents] = [dy, dyTangent].map((at) => floats(run, at, run.batch * size));
      views(
        run,
        sources.map(({ dxTangent }) => dxTangent),
      ).forEach((dx, i) => {
        if (dx === undefined) return;
        gather(run, dx, i, (b, at) => {
          const here = b * size + at;
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
      });
    },
  };
}
