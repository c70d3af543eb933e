import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { belowOne } from "./fields.js";
import { layerKind, type Layer } from "./layer.js";

/**
 * In training, each element is zero with probability `rate` and divided by 1 - rate otherwise
 * (Srivastava et al. 2014, inverted form); at any other time nothing happens to it.
 */
export const dropout = layerKind({
  schema: v.strictObject({
    type: v.literal("dropout"),
    rate: belowOne,
  }),
  resolve({ rate }, [input]) {
    const size = elements(input);
    const layer: Layer = {
      input,
      output: input,
      parameters: [],
      remembers: size,
      gradientInPlace: true,
      forward(run, { x, y, memory }) {
        const { kernels, batch, random } = run;
        const mask = new Float32Array(run.memory.buffer, memory, batch * size);
        if (random === undefined) mask.fill(1);
        else
          for (let i = 0; i < mask.length; i++) mask[i] = random.next() < rate ? 0 : 1 / (1 - rate);
        kernels.multiply(y, x, memory, batch * size);
        return 0;
      },
      backward({ kernels, batch }, { dy, dx, memory }) {
        if (dx !== 0) kernels.multiply(dx, dy, memory, batch * size);
      },
      forwardTangent: ({ kernels, batch }, { xTangent, yTangent, memory }) =>
        kernels.multiply(yTangent, xTangent, memory, batch * size),
      backwardTangent({ kernels, batch }, { dyTangent, dxTangent, memory }) {
        if (dxTangent !== 0) kernels.multiply(dxTangent, dyTangent, memory, batch * size);
      },
    };
    return { layer };
  },
});
