import * as v from "valibot";
import {
  activationBackwardTangent,
  activationTangent,
  biasedActivationBackward,
} from "./activation.js";
import { activation, positiveInteger } from "./fields.js";
import { ACCUMULATE, NORM, RELU, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
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
        const how = (form.rectified ? RELU : 0) + (norm ? NORM : 0);
        return kernels.gemm(
          how,
          batch,
          units,
          features,
          x,
          features,
          kernel,
          units,
          y,
          units,
          bias,
          scratch,
        );
      },
      backwardActivation: (run, cells, penalty) =>
        biasedActivationBackward(run, cells, form, units, penalty),
      backward({ kernels, batch, scratch }, cells) {
        const { x, dy, dx, parameters, gradients } = cells;
        kernels.gemm(
          TRANSPOSE_A,
          features,
          units,
          batch,
          x,
          features,
          dy,
          units,
          gradients[0],
          units,
          0,
          scratch,
        );
        if (dx !== 0)
          kernels.gemm(
            TRANSPOSE_B,
            batch,
            features,
            units,
            dy,
            units,
            parameters[0],
            units,
            dx,
            features,
            0,
            scratch,
          );
      },
      forwardTangent(run, cells) {
        const { kernels, batch, scratch } = run;
        const { x, xTangent, yTangent, parameters, directions } = cells;
        kernels.gemm(
          0,
          batch,
          units,
          features,
          x,
          features,
          directions[0],
          units,
          yTangent,
          units,
          directions[1],
          scratch,
        );
        if (xTangent !== 0)
          kernels.gemm(
            ACCUMULATE,
            batch,
            units,
            features,
            xTangent,
            features,
            parameters[0],
            units,
            yTangent,
            units,
            0,
            scratch,
          );
        activationTangent(run, cells, form);
      },
      backwardTangent(run, cells, penalty) {
        const { kernels, batch, scratch } = run;
        const { x, xTangent, dy, dyTangent, dxTangent } = cells;
        const { parameters, directions, products } = cells;
        activationBackwardTangent(run, cells, form, penalty);
        kernels.gemm(
          TRANSPOSE_A,
          features,
          units,
          batch,
          x,
          features,
          dyTangent,
          units,
          products[0],
          units,
          0,
          scratch,
        );
        if (xTangent !== 0)
          kernels.gemm(
            TRANSPOSE_A + ACCUMULATE,
            features,
            units,
            batch,
            xTangent,
            features,
            dy,
            units,
            products[0],
            units,
            0,
            scratch,
          );
        kernels.sumRows(dyTangent, products[1], batch, units);
        if (dxTangent === 0) return;
        kernels.gemm(
          TRANSPOSE_B,
          batch,
          features,
          units,
          dyTangent,
          units,
          parameters[0],
          units,
          dxTangent,
          features,
          0,
          scratch,
        );
        kernels.gemm(
          TRANSPOSE_B + ACCUMULATE,
          batch,
          features,
          units,
          dy,
          units,
          directions[0],
          units,
          dxTangent,
          features,
          0,
          scratch,
        );
      },
    };
  },
});
