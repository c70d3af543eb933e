import * as v from "valibot";
import { activationBackward, activationBackwardTangent, activationTangent } from "./activation.js";
import { elements, IN_PLACE, layerKind, type Layer } from "./layer.js";

/** y = max(x, 0), where the layer before could not take it in. */
export const relu = layerKind({
  schema: v.strictObject({ type: v.literal("relu") }),
  takesRelu: true,
  resolve(_description, input): Layer {
    const form = { output: input, rectified: true };
    return {
      ...form,
      input,
      parameters: [],
      remembers: 0,
      inPlace: IN_PLACE,
      forward: ({ kernels, batch }, { x, y }, norm) =>
        kernels.relu(x, y, batch * elements(input), Number(norm)),
      backwardActivation: (run, cells, penalty) => activationBackward(run, cells, form, penalty),
      backward() {},
      forwardTangent: (run, cells) => activationTangent(run, cells, form),
      backwardTangent: (run, cells, penalty) =>
        activationBackwardTangent(run, cells, form, penalty),
    };
  },
});
