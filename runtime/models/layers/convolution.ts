import {
  activationBackwardTangent,
  activationTangent,
  biasedActivationBackward,
} from "./activation.js";
import type { Window } from "../../wasm/window.js";
import { slid } from "./fields.js";
import {
  elements,
  OUT_OF_PLACE,
  type Layer,
  type LayerParameter,
  type Run,
  type Shape,
} from "./layer.js";

/** The three linear maps that a convolution is made of, as kernel calls on addresses. */
export interface Convolution {
  /** y = relu?(x * w + bias?); returns the sum of squares of y if `norm`. */
  apply(
    run: Run,
    window: number,
    x: number,
    w: number,
    bias: number,
    y: number,
    relu: boolean,
    norm: boolean,
  ): number;
  backpropInput(run: Run, window: number, dy: number, w: number, dx: number): void;
  backpropFilter(run: Run, window: number, x: number, dy: number, dw: number): void;
}

/**
 * The convolution of many channels at once: filter [kernelHeight, kernelWidth, inChannels,
 * outChannels].
 */
export const fullConvolution: Convolution = {
  apply: ({ kernels, batch, scratch }, window, x, w, bias, y, relu, norm) =>
    kernels.conv2d(window, batch, x, w, bias, y, Number(relu), Number(norm), scratch),
  backpropInput: ({ kernels, batch, scratch }, window, dy, w, dx) =>
    kernels.conv2dBackpropInput(window, batch, dy, w, dx, scratch),
  backpropFilter: ({ kernels, batch, scratch }, window, x, dy, dw) =>
    kernels.conv2dBackpropFilter(window, batch, x, dy, dw, scratch),
};

/**
 * The convolution of each channel by itself: filter [kernelHeight, kernelWidth, inChannels,
 * outChannels / inChannels].
 */
export const depthwiseConvolution: Convolution = {
  apply: ({ kernels, batch }, window, x, w, bias, y, relu, norm) =>
    kernels.depthwiseConv2d(window, batch, x, w, bias, y, Number(relu), Number(norm)),
  backpropInput: ({ kernels, batch }, window, dy, w, dx) =>
    kernels.depthwiseConv2dBackpropInput(window, batch, dy, w, dx),
  backpropFilter: ({ kernels, batch }, window, x, dy, dw) =>
    kernels.depthwiseConv2dBackpropFilter(window, batch, x, dy, dw),
};

/** The layer relu?(x * w + b) of a convolution. */
export function convolutionLayer(
  input: Shape,
  window: Window,
  kernel: LayerParameter,
  rectified: boolean,
  convolution: Convolution,
): Layer {
  const { outChannels: channels } = window;
  const form = { output: slid(input, window), rectified };
  const positions = window.outHeight * window.outWidth;
  return {
    ...form,
    input,
    parameters: [kernel, { name: "bias", shape: [channels], initial: kernel.initial }],
    remembers: 0,
    window,
    inPlace: OUT_OF_PLACE,
    forward: (run, { window, x, y, parameters: [w, bias] }, norm) =>
      convolution.apply(run, window, x, w, bias, y, rectified, norm),
    backwardActivation: (run, cells, penalty) =>
      biasedActivationBackward(run, cells, form, channels, penalty),
    backward(run, { window, x, dy, dx, parameters, gradients }) {
      convolution.backpropFilter(run, window, x, dy, gradients[0]);
      if (dx !== 0) convolution.backpropInput(run, window, dy, parameters[0], dx);
    },
    forwardTangent(run, cells) {
      const { window, x, xTangent, yTangent, parameters, directions } = cells;
      const [along, alongBias] = directions;
      convolution.apply(run, window, x, along, alongBias, yTangent, false, false);
      if (xTangent !== 0) {
        const { kernels, batch, temporary } = run;
        convolution.apply(run, window, xTangent, parameters[0], 0, temporary, false, false);
        kernels.axpy(yTangent, temporary, batch * elements(form.output), 1);
      }
      activationTangent(run, cells, form);
    },
    backwardTangent(run, cells, penalty) {
      const { kernels, batch, temporary } = run;
      const { window, x, xTangent, dy, dyTangent, dxTangent } = cells;
      const { parameters, directions, products } = cells;
      activationBackwardTangent(run, cells, form, penalty);
      convolution.backpropFilter(run, window, x, dyTangent, products[0]);
      if (xTangent !== 0) {
        convolution.backpropFilter(run, window, xTangent, dy, temporary);
        kernels.axpy(products[0], temporary, elements(kernel.shape), 1);
      }
      kernels.sumRows(dyTangent, products[1], batch * positions, channels);
      if (dxTangent === 0) return;
      convolution.backpropInput(run, window, dyTangent, parameters[0], dxTangent);
      convolution.backpropInput(run, window, dy, directions[0], temporary);
      kernels.axpy(dxTangent, temporary, batch * elements(input), 1);
    },
  };
}
