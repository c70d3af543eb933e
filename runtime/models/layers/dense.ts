import * as v from "valibot";
import { ACCUMULATE, NORM, RELU, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
import { elements } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import { positiveInteger } from "./fields.js";
import { layerKind, type Layer, type Run, type Shape } from "./layer.js";

/** y = x W + b on the last axis, x: [.., features], W: [features, units]. */
export const dense = layerKind({
  schema: v.strictObject({
    type: v.literal("dense"),
    units: positiveInteger,
    activation: v.optional(activationName),
  }),
  takesActivation: true,
  resolve({ units, activation }, [input], complain) {
    if (input.length > 2)
      complain(
        "input",
        "[features] or [length, channels] (put a flatten layer before it)",
        `[${input.join(", ")}]`,
      );
    return { layer: denseLayer(input, units), activation };
  },
});

function denseLayer(input: Shape, units: number): Layer {
  const features = input[input.length - 1];
  const positions = elements(input) / features;
  /** y [+]= x W [+ b] */
  const apply = (
    { kernels, batch, scratch }: Run,
    how: number,
    x: number,
    w: number,
    y: number,
    bias = 0,
  ) => {
    const rows = batch * positions;
    return kernels.gemm(how, rows, units, features, x, features, w, units, y, units, bias, scratch);
  };
  /** dx [+]= dy W^T */
  const toInput = (
    { kernels, batch, scratch }: Run,
    how: number,
    dy: number,
    w: number,
    dx: number,
  ) => {
    const rows = batch * positions;
    kernels.gemm(
      TRANSPOSE_B + how,
      ...([rows, features, units] as const),
      ...([dy, units, w, units, dx, features] as const),
      0,
      scratch,
    );
  };
  /** dW [+]= x^T dy */
  const toKernel = (
    { kernels, batch, scratch }: Run,
    how: number,
    x: number,
    dy: number,
    dw: number,
  ) => {
    const rows = batch * positions;
    kernels.gemm(
      TRANSPOSE_A + how,
      ...([features, units, rows] as const),
      ...([x, features, dy, units, dw, units] as const),
      0,
      scratch,
    );
  };
  return {
    input,
    output: [...input.slice(0, -1), units],
    parameters: [
      { name: "kernel", shape: [features, units], initial: { fanIn: features } },
      { name: "bias", shape: [units], initial: { fanIn: features } },
    ],
    fusesRelu: true,
    bias: 1,
    remembers: 0,
    forward: (run, { x, y, parameters: [kernel, bias] }, relu, norm) =>
      apply(run, (relu ? RELU : 0) + (norm ? NORM : 0), x, kernel, y, bias),
    backward(run, { x, dy, dx, parameters, gradients }) {
      toKernel(run, 0, x, dy, gradients[0]);
      if (dx !== 0) toInput(run, 0, dy, parameters[0], dx);
    },
    forwardTangent(run, { x, xTangent, yTangent, parameters, directions }) {
      apply(run, 0, x, directions[0], yTangent, directions[1]);
      if (xTangent !== 0) apply(run, ACCUMULATE, xTangent, parameters[0], yTangent);
    },
    backwardTangent(run, cells) {
      const { x, xTangent, dy, dyTangent, dxTangent } = cells;
      const { parameters, directions, products } = cells;
      toKernel(run, 0, x, dyTangent, products[0]);
      if (xTangent !== 0) toKernel(run, ACCUMULATE, xTangent, dy, products[0]);
      if (dxTangent === 0) return;
      toInput(run, 0, dyTangent, parameters[0], dxTangent);
      toInput(run, ACCUMULATE, dy, directions[0], dxTangent);
    },
  };
}
