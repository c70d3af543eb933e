import {
  activationBackwardTangent,
  activationTangent,
  biasedActivationBackward,
} from "./activation.js";
import { slid, type Window } from "./fields.js";
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
    x: number,
    w: number,
    bias: number,
    y: number,
    relu: boolean,
    norm: boolean,
  ): number;
  backpropInput(run: Run, dy: number, w: number, dx: number): void;
  backpropFilter(run: Run, x: number, dy: number, dw: number): void;
}

/**
 * The convolution of many channels at once: filter [kernelHeight, kernelWidth, inChannels,
 * filters].
 */
export function fullConvolution(window: Window, filters: number): Convolution {
  const { inHeight, inWidth, inChannels, outHeight, outWidth } = window;
  const { kernelHeight, kernelWidth, strideHeight, strideWidth } = window;
  const { padTop, padLeft } = window;
  // prettier-ignore
  return {
    apply: ({ kernels, batch, scratch }, x, w, bias, y, relu, norm) =>
      kernels.conv2d(x, w, bias, y, batch, inHeight, inWidth, inChannels, outHeight, outWidth, filters,
        kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft, Number(relu), Number(norm), scratch),
    backpropInput: ({ kernels, batch, scratch }, dy, w, dx) =>
      kernels.conv2dBackpropInput(dy, w, dx, batch, inHeight, inWidth, inChannels, outHeight, outWidth, filters,
        kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft, scratch),
    backpropFilter: ({ kernels, batch, scratch }, x, dy, dw) =>
      kernels.conv2dBackpropFilter(x, dy, dw, batch, inHeight, inWidth, inChannels, outHeight, outWidth, filters,
        kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft, scratch),
  };
}

/**
 * The convolution of each channel by itself: filter [kernelHeight, kernelWidth, inChannels,
 * multiplier].
 */
export function depthwiseConvolution(window: Window, multiplier: number): Convolution {
  const { inHeight, inWidth, inChannels, outHeight, outWidth } = window;
  const { kernelHeight, kernelWidth, strideHeight, strideWidth } = window;
  const { padTop, padLeft } = window;
  // prettier-ignore
  return {
    apply: ({ kernels, batch }, x, w, bias, y, relu, norm) =>
      kernels.depthwiseConv2d(x, w, bias, y, batch, inHeight, inWidth, inChannels, outHeight, outWidth, multiplier,
        kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft, Number(relu), Number(norm)),
    backpropInput: ({ kernels, batch }, dy, w, dx) =>
      kernels.depthwiseConv2dBackpropInput(dy, w, dx, batch, inHeight, inWidth, inChannels, outHeight, outWidth, multiplier,
        kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft),
    backpropFilter: ({ kernels, batch }, x, dy, dw) =>
      kernels.depthwiseConv2dBackpropFilter(x, dy, dw, batch, inHeight, inWidth, inChannels, outHeight, outWidth, multiplier,
        kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft),
  };
}

/** The layer relu?(x * w + b) of a convolution. */
export function convolutionLayer(
  input: Shape,
  window: Window,
  channels: number,
  kernel: LayerParameter,
  rectified: boolean,
  convolution: Convolution,
): Layer {
  const form = { output: slid(input, window, channels), rectified };
  const positions = window.outHeight * window.outWidth;
  return {
    ...form,
    input,
    parameters: [kernel, { name: "bias", shape: [channels], initial: kernel.initial }],
    remembers: 0,
    inPlace: OUT_OF_PLACE,
    forward: (run, { x, y, parameters: [w, bias] }, norm) =>
      convolution.apply(run, x, w, bias, y, rectified, norm),
    backwardActivation: (run, cells, penalty) =>
      biasedActivationBackward(run, cells, form, channels, penalty),
    backward(run, { x, dy, dx, parameters, gradients }) {
      convolution.backpropFilter(run, x, dy, gradients[0]);
      if (dx !== 0) convolution.backpropInput(run, dy, parameters[0], dx);
    },
    forwardTangent(run, cells) {
      const { x, xTangent, yTangent, parameters, directions } = cells;
      const [along, alongBias] = directions;
      convolution.apply(run, x, along, alongBias, yTangent, false, false);
      if (xTangent !== 0) {
        const { kernels, batch, temporary } = run;
        // prettier-ignore
        convolution.apply(run, xTangent, parameters[0], 0, temporary, false, false);
        kernels.axpy(yTangent, temporary, batch * elements(form.output), 1);
      }
      activationTangent(run, cells, form);
    },
    backwardTangent(run, cells, penalty) {
      const { kernels, batch, temporary } = run;
      const { x, xTangent, dy, dyTangent, dxTangent } = cells;
      const { parameters, directions, products } = cells;
      activationBackwardTangent(run, cells, form, penalty);
      convolution.backpropFilter(run, x, dyTangent, products[0]);
      if (xTangent !== 0) {
        convolution.backpropFilter(run, xTangent, dy, temporary);
        kernels.axpy(products[0], temporary, elements(kernel.shape), 1);
      }
      kernels.sumRows(dyTangent, products[1], batch * positions, channels);
      if (dxTangent === 0) return;
      convolution.backpropInput(run, dyTangent, parameters[0], dxTangent);
      convolution.backpropInput(run, dy, directions[0], temporary);
      kernels.axpy(dxTangent, temporary, batch * elements(input), 1);
    },
  };
}
