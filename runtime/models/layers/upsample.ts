import * as v from "valibot";
import { elements, shapeText } from "../../tensors/shape.js";
import { axes, imageOf, integerOrPair, positiveInteger } from "./fields.js";
import { layerKind, type Layer, type Run, type Shape } from "./layer.js";

/** Each pixel becomes size x size equal ones; of a sequence, each step `size` steps. */
export const upsample = layerKind({
  schema: v.strictObject({ type: v.literal("upsample"), size: integerOrPair }),
  resolve({ size }, [input], complain) {
    const { height, width, channels } = imageOf(input, [2, 3], complain);
    const [down, right] = axes("size", size, input, complain);
    const output = [height * down, width * right, channels];
    return {
      layer: repeated(input, input.length === 2 ? output.slice(1) : output, {
        outer: height,
        down,
        inner: width,
        right,
        channels,
      }),
    };
  },
});

/** The input at each of so many steps: [channels] becomes [times, channels]. */
export const repeat = layerKind({
  schema: v.strictObject({ type: v.literal("repeat"), times: positiveInteger }),
  resolve({ times }, [input], complain) {
    if (input.length !== 1) complain("input", "[features]", shapeText(input));
    const [channels] = input;
    return {
      layer: repeated(input, [times, channels], {
        outer: 1,
        down: 1,
        inner: 1,
        right: times,
        channels,
      }),
    };
  },
});

/** x [outer, inner, channels] -> y [outer, down, inner, right, channels], the same at each. */
interface Repetition {
  readonly outer: number;
  readonly down: number;
  readonly inner: number;
  readonly right: number;
  readonly channels: number;
}

function repeated(input: Shape, output: Shape, form: Repetition): Layer {
  const { outer, down, inner, right, channels } = form;
  const size = elements(input);
  const spread = ({ kernels, batch }: Run, x: number, y: number) => {
    const row = inner * right * channels;
    for (let b = 0; b < batch * outer; b++)
      for (let d = 0; d < down; d++)
        for (let r = 0; r < right; r++)
          kernels.copyColumns(
            x + 4 * b * inner * channels,
            channels,
            y + 4 * ((b * down + d) * row + r * channels),
            right * channels,
            inner,
            channels,
          );
  };
  const gather = ({ memory, batch }: Run, dy: number, dx: number) => {
    const from = new Float32Array(memory.buffer, dy, batch * elements(output));
    const to = new Float32Array(memory.buffer, dx, batch * size).fill(0);
    let at = 0;
    for (let b = 0; b < batch * outer; b++)
      for (let d = 0; d < down; d++)
        for (let i = 0; i < inner; i++)
          for (let r = 0; r < right; r++)
            for (let c = 0; c < channels; c++) to[(b * inner + i) * channels + c] += from[at++];
  };
  return {
    input,
    output,
    parameters: [],
    forward(run, { x, y }) {
      spread(run, x, y);
      return 0;
    },
    backward(run, { dy, dx }) {
      if (dx !== 0) gather(run, dy, dx);
    },
    forwardTangent: (run, { xTangent, yTangent }) => spread(run, xTangent, yTangent),
    backwardTangent(run, { dyTangent, dxTangent }) {
      if (dxTangent !== 0) gather(run, dyTangent, dxTangent);
    },
  };
}
