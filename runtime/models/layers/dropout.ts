import * as v from "valibot";
import { elements, layerKind, type Layer } from "./layer.js";

/**
 * In training, each element is zero with probability `rate` and divided by 1 - rate otherwise
 * (Srivastava et al. 2014, inverted form); at any other time nothing happens to it.
 */
export const dropout = layerKind({
  schema: v.strictObject({
    type: v.literal("dropout"),
    rate: v.pipe(
      v.number("a number from 0 to below 1"),
      v.minValue(0, "a number from 0 to below 1"),
      v.ltValue(1, "a number from 0 to below 1"),
    ),
  }),
  takesRelu: false,
  resolve({ rate }, input): Layer {
    const size = elements(input);
    return {
      input,
      output: input,
      parameters: [],
      rectified: false,
      remembers: size,
      // Not in place forward: the layer before still needs what it gave out.
      inPlace: { forward: false, backward: true },
      forward(run, { x, y, memory }) {
        const { kernels, batch, random } = run;
        const mask = new Float32Array(run.memory.buffer, memory, batch * size);
        if (random === undefined) mask.fill(1);
        else
          for (let i = 0; i < mask.length; i++) mask[i] = random.next() < rate ? 0 : 1 / (1 - rate);
        kernels.multiply(y, x, memory, batch * size);
        return 0;
      },
      backward: ({ kernels, batch }, { dy, dx, memory }) =>
        kernels.multiply(dx, dy, memory, batch * size),
      forwardTangent: ({ kernels, batch }, { xTangent, yTangent, memory }) =>
        kernels.multiply(yTangent, xTangent, memory, batch * size),
      backwardTangent: ({ kernels, batch }, { dyTangent, dxTangent, memory }) =>
        kernels.multiply(dxTangent, dyTangent, memory, batch * size),
    };
  },
});
