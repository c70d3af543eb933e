import { ACCUMULATE } from "../../wasm/kernels.js";
import type { Window } from "../../wasm/window.js";
import { elements } from "../../tensors/shape.js";
import { slid } from "./fields.js";
import type { Layer, LayerParameter, Run, Shape } from "./layer.js";

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

/** The layer x * w + b of a convolution. */
export function convolutionLayer(
  input: Shape,
  window: Window,
  kernel: LayerParameter,
  convolution: Convolution,
): Layer {
  const { outChannels: channels } = window;
  const output = slid(input, window);
  return {
    input,
    output,
    parameters: [kernel, { name: "bias", shape: [channels], initial: kernel.initial }],
    fusesRelu: true,
    bias: 1,
    remembers: 0,
    window,
    forward: (run, { window, x, y, parameters: [w, bias] }, relu, norm) =>
      convolution.apply(run, window, x, w, bias, y, relu, norm),
    backward(run, { window, x, dy, dx, parameters, gradients }) {
      convolution.backpropFilter(run, window, x, dy, gradients[0]);
      if (dx !== 0) convolution.backpropInput(run, window, dy, parameters[0], dx);
    },
    forwardTangent(run, { window, x, xTangent, yTangent, parameters, directions }) {
      const [along, alongBias] = directions;
      convolution.apply(run, window, x, along, alongBias, yTangent, false, false);
      if (xTangent === 0) return;
      const { kernels, batch, temporary } = run;
      convolution.apply(run, window, xTangent, parameters[0], 0, temporary, false, false);
      kernels.axpy(yTangent, temporary, batch * elements(output), 1);
    },
    backwardTangent(run, cells) {
      const { kernels, batch, temporary } = run;
      const { window, x, xTangent, dy, dyTangent, dxTangent } = cells;
      const { parameters, directions, products } = cells;
      convolution.backpropFilter(run, window, x, dyTangent, products[0]);
      if (xTangent !== 0) {
        convolution.backpropFilter(run, window, xTangent, dy, temporary);
        kernels.axpy(products[0], temporary, elements(kernel.shape), 1);
      }
      if (dxTangent === 0) return;
      convolution.backpropInput(run, window, dyTangent, parameters[0], dxTangent);
      convolution.backpropInput(run, window, dy, directions[0], temporary);
      kernels.axpy(dxTangent, temporary, batch * elements(input), 1);
    },
  };
}

/**
 * The layer of a transposed convolution: forward is what takes a convolution's dy to its dx, so its
 * backward pass is that convolution. `window` is the convolution's, from the output back to the
 * input; the kernel is [kernelHeight, kernelWidth, filters, channels].
 */
export function transposedConvolutionLayer(
  input: Shape,
  output: Shape,
  window: Window,
  kernel: LayerParameter,
): Layer {
  const { inChannels: filters } = window;
  const rows = elements(output) / filters;
  const addBias = ({ kernels, batch, scratch }: Run, y: number, bias: number) =>
    kernels.gemm(ACCUMULATE, batch * rows, filters, 0, y, 0, y, filters, y, filters, bias, scratch);
  const { apply, backpropInput, backpropFilter } = fullConvolution;
  return {
    input,
    output,
    parameters: [kernel, { name: "bias", shape: [filters], initial: kernel.initial }],
    bias: 1,
    remembers: 0,
    window,
    forward(run, { window, x, y, parameters: [w, bias] }) {
      backpropInput(run, window, x, w, y);
      addBias(run, y, bias);
      return 0;
    },
    backward(run, { window, x, dy, dx, parameters, gradients }) {
      backpropFilter(run, window, dy, x, gradients[0]);
      if (dx !== 0) apply(run, window, dy, parameters[0], 0, dx, false, false);
    },
    forwardTangent(run, { window, x, xTangent, yTangent, parameters, directions }) {
      backpropInput(run, window, x, directions[0], yTangent);
      addBias(run, yTangent, directions[1]);
      if (xTangent === 0) return;
      const { kernels, batch, temporary } = run;
      backpropInput(run, window, xTangent, parameters[0], temporary);
      kernels.axpy(yTangent, temporary, batch * elements(output), 1);
    },
    backwardTangent(run, cells) {
      const { kernels, batch, temporary } = run;
      const { window, x, xTangent, dy, dyTangent, dxTangent } = cells;
      const { parameters, directions, products } = cells;
      backpropFilter(run, window, dyTangent, x, products[0]);
      if (xTangent !== 0) {
        backpropFilter(run, window, dy, xTangent, temporary);
        kernels.axpy(products[0], temporary, elements(kernel.shape), 1);
      }
      if (dxTangent === 0) return;
      apply(run, window, dyTangent, parameters[0], 0, dxTangent, false, false);
      apply(run, window, dy, directions[0], 0, temporary, false, false);
      kernels.axpy(dxTangent, temporary, batch * elements(input), 1);
    },
  };
}
