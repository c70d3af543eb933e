import * as v from "valibot";
import {
  activationBackwardTangent,
  activationTangent,
  biasedActivationBackward,
} from "./activation.js";
import { activation, positiveInteger } from "./fields.js";
import { layerKind, OUT_OF_PLACE, type Layer } from "./layer.js";

/** y = relu?(x W + b), x: [features], W: [features, units]. */
export const dense = layerKind({
  schema: v.strictObject({
    type: v.literal("dense"),
    units: positiveInteger,
    activation,
  }),
  takesRelu: true,
  resolve({ units, activation }, input, relu, complain): Layer {
    if (input.length !== 1)
      complain("input", "[features] (put a flatten layer before it)", `[${input.join(", ")}]`);
    const [features] = input;
    const form = {
      output: [units],
      rectified: relu || activation === "relu",
    };
    return {
      ...form,
      input,
      parameters: [
        {
          name: "kernel",
          shape: [features, units],
          initial: { fanIn: features },
        },
        { name: "bias", shape: [units], initial: { fanIn: features } },
      ],
      remembers: 0,
      inPlace: OUT_OF_PLACE,
      forward({ kernels, batch, scratch }, { x, y, parameters }, norm) {
        const [kernel, bias] = parameters;
        // prettier-ignore
        return kernels.gemm(0, 0, batch, units, features, x, features, kernel, units, y, units, 0, bias,
          Number(form.rectified), Number(norm), scratch);
      },
      backwardActivation: (run, cells, penalty) =>
        biasedActivationBackward(run, cells, form, units, penalty),
      backward({ kernels, batch, scratch }, cells) {
        const { x, dy, dx, parameters, gradients } = cells;
        // prettier-ignore
        kernels.gemm(1, 0, features, units, batch, x, features, dy, units, gradients[0], units, 0, 0, 0, 0, scratch);
        // prettier-ignore
        if (dx !== 0) kernels.gemm(0, 1, batch, features, units, dy, units, parameters[0], units, dx, features, 0, 0, 0, 0, scratch);
      },
      forwardTangent(run, cells) {
        const { kernels, batch, scratch } = run;
        const { x, xTangent, yTangent, parameters, directions } = cells;
        // prettier-ignore
        kernels.gemm(0, 0, batch, units, features, x, features, directions[0], units, yTangent, units, 0, directions[1], 0, 0, scratch);
        // prettier-ignore
        if (xTangent !== 0) kernels.gemm(0, 0, batch, units, features, xTangent, features, parameters[0], units, yTangent, units, 1, 0, 0, 0, scratch);
        activationTangent(run, cells, form);
      },
      backwardTangent(run, cells, penalty) {
        const { kernels, batch, scratch } = run;
        const { x, xTangent, dy, dyTangent, dxTangent } = cells;
        const { parameters, directions, products } = cells;
        activationBackwardTangent(run, cells, form, penalty);
        // prettier-ignore
        kernels.gemm(1, 0, features, units, batch, x, features, dyTangent, units, products[0], units, 0, 0, 0, 0, scratch);
        // prettier-ignore
        if (xTangent !== 0) kernels.gemm(1, 0, features, units, batch, xTangent, features, dy, units, products[0], units, 1, 0, 0, 0, scratch);
        kernels.sumRows(dyTangent, products[1], batch, units);
        if (dxTangent === 0) return;
        // prettier-ignore
        kernels.gemm(0, 1, batch, features, units, dyTangent, units, parameters[0], units, dxTangent, features, 0, 0, 0, 0, scratch);
        // prettier-ignore
        kernels.gemm(0, 1, batch, features, units, dy, units, directions[0], units, dxTangent, features, 1, 0, 0, 0, scratch);
      },
    };
  },
});
