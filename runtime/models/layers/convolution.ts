import { ACCUMULATE, NORM, RELU } from "../../wasm/kernels.js";
import type { Window } from "../../wasm/window.js";
import { elements } from "../../tensors/shape.js";
import { slid } from "./fields.js";
import type { Layer, LayerParameter, Run, Shape } from "./layer.js";
import { bilinearPasses, product, type Bilinear } from "./linear.js";

const flag = (how: number, one: number) => Number((how & one) !== 0);

/**
 * The convolution of many channels at once: filter [kernelHeight, kernelWidth, inChannels,
 * outChannels]. Like the one below it adds nothing to what is there: `adding` does.
 */
export const fullConvolution: Bilinear = {
  apply: ({ kernels, batch, scratch }, { window }, how, x, w, y, bias) =>
    kernels.conv2d(window, batch, x, w, bias, y, flag(how, RELU), flag(how, NORM), scratch),
  toInput: ({ kernels, batch, scratch }, { window }, _how, dy, w, dx) =>
    kernels.conv2dBackpropInput(window, batch, dy, w, dx, scratch),
  toKernel: ({ kernels, batch, scratch }, { window }, _how, x, dy, dw) =>
    kernels.conv2dBackpropFilter(window, batch, x, dy, dw, scratch),
};

/**
 * The convolution of each channel by itself: filter [kernelHeight, kernelWidth, inChannels,
 * outChannels / inChannels].
 */
export const depthwiseConvolution: Bilinear = {
  apply: ({ kernels, batch }, { window }, how, x, w, y, bias) =>
    kernels.depthwiseConv2d(window, batch, x, w, bias, y, flag(how, RELU), flag(how, NORM)),
  toInput: ({ kernels, batch }, { window }, _how, dy, w, dx) =>
    kernels.depthwiseConv2dBackpropInput(window, batch, dy, w, dx),
  toKernel: ({ kernels, batch }, { window }, _how, x, dy, dw) =>
    kernels.depthwiseConv2dBackpropFilter(window, batch, x, dy, dw),
};

/** A map that can add as well, by way of the plan's temporary tensor. */
function adding(map: Bilinear, input: Shape, output: Shape, kernel: Shape): Bilinear {
  const sum = (run: Run, how: number, to: number, size: number, write: (to: number) => unknown) => {
    if (flag(how, ACCUMULATE) === 0) return void write(to);
    write(run.temporary);
    run.kernels.axpy(to, run.temporary, size, 1);
  };
  return {
    apply(run, cells, how, x, w, y, bias) {
      const size = run.batch * elements(output);
      sum(run, how, y, size, (to) => map.apply(run, cells, 0, x, w, to, bias));
      return 0;
    },
    toInput: (run, cells, how, dy, w, dx) =>
      sum(run, how, dx, run.batch * elements(input), (to) => map.toInput(run, cells, 0, dy, w, to)),
    toKernel: (run, cells, how, x, dy, dw) =>
      sum(run, how, dw, elements(kernel), (to) => map.toKernel(run, cells, 0, x, dy, to)),
  };
}

/** The layer x * w + b of a convolution. */
export function convolutionLayer(
  input: Shape,
  window: Window,
  kernel: LayerParameter,
  convolution: Bilinear,
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
    ...bilinearPasses({
      ...convolution,
      adding: adding(convolution, input, output, kernel.shape),
    }),
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
  const { apply, toInput, toKernel } = fullConvolution;
  const transposed: Bilinear = {
    apply(run, cells, _how, x, w, y, bias) {
      toInput(run, cells, 0, x, w, y);
      if (bias !== 0)
        product(
          run,
          ACCUMULATE,
          [run.batch * rows, filters, 0],
          [y, 0],
          [y, filters],
          [y, filters],
          bias,
        );
      return 0;
    },
    toInput: (run, cells, _how, dy, w, dx) => void apply(run, cells, 0, dy, w, dx, 0),
    toKernel: (run, cells, _how, x, dy, dw) => toKernel(run, cells, 0, dy, x, dw),
  };
  return {
    input,
    output,
    parameters: [kernel, { name: "bias", shape: [filters], initial: kernel.initial }],
    bias: 1,
    remembers: 0,
    window,
    ...bilinearPasses({
      ...transposed,
      adding: adding(transposed, input, output, kernel.shape),
    }),
  };
}
