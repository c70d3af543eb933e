import { ACCUMULATE, NORM, RELU } from "../../wasm/kernels.js";
import type { Window } from "../../wasm/window.js";
import { elements } from "../../tensors/shape.js";
import { axes, checkPatch, imageOf, slid, windowOf, type Padding, type Pair } from "./fields.js";
import type { Complain, Layer, LayerParameter, Resolved, Run, Shape } from "./layer.js";
import { bilinearPasses, product, type Bilinear } from "./linear.js";

const flag = (how: number, one: number) => Number((how & one) !== 0);

/**
 * The convolution of many channels at once: filter [kernelHeight, kernelWidth, inChannels,
 * outChannels]. Like the one below it adds nothing to what is there: `adding` does.
 */
const fullConvolution: Bilinear = {
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
const depthwiseConvolution: Bilinear = {
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

/** What descriptions of convolutions say, under the name of each. */
interface Filters {
  readonly kernelSize: number | Pair<number>;
  readonly strides?: number | Pair<number>;
  readonly padding?: Padding;
  readonly activation?: Resolved["activation"];
}

/** Filters of this window, [kernelHeight, kernelWidth, ...channels], without the height of a sequence. */
function filtersOf(
  { length }: Shape,
  { kernelHeight, kernelWidth }: Window,
  channels: Pair<number>,
  perOutput: number,
): LayerParameter {
  const shape = [kernelHeight, kernelWidth, ...channels].slice(length === 2 ? 1 : 0);
  return { name: "kernel", shape, initial: { fanIn: kernelHeight * kernelWidth * perOutput } };
}

/** The convolution of a sequence (rank 2) or an image (3) by so many filters. */
export function convolved(
  { kernelSize: size, activation, ...sliding }: Filters,
  input: Shape,
  rank: 2 | 3,
  filters: number,
  complain: Complain,
): Resolved {
  const image = imageOf(input, [rank], complain);
  const window = windowOf(input, image, "kernelSize", { size, ...sliding }, complain, filters);
  checkPatch(window, complain);
  const { channels } = image;
  const kernel = filtersOf(input, window, [channels, filters], channels);
  return { layer: convolutionLayer(input, window, kernel, fullConvolution), activation };
}

/** The convolution of each channel of an image by `multiplier` filters of its own. */
export function convolvedApart(
  { kernelSize: size, activation, ...sliding }: Filters,
  input: Shape,
  multiplier: number,
  complain: Complain,
): Resolved {
  const image = imageOf(input, [3], complain);
  const { channels } = image;
  const outChannels = channels * multiplier;
  const window = windowOf(input, image, "kernelSize", { size, ...sliding }, complain, outChannels);
  const kernel = filtersOf(input, window, [channels, multiplier], 1);
  return { layer: convolutionLayer(input, window, kernel, depthwiseConvolution), activation };
}

/**
 * The transposed convolution: its window is that of the convolution from the output back to the
 * input.
 */
export function transposed(
  { kernelSize: size, activation, ...sliding }: Filters,
  input: Shape,
  rank: 2 | 3,
  filters: number,
  complain: Complain,
): Resolved {
  const { height, width, channels } = imageOf(input, [rank], complain);
  const { strides = 1, padding } = sliding;
  const kernel = axes("kernelSize", size, input, complain);
  const stride = axes("strides", strides, input, complain);
  const grown = (count: number, axis: 0 | 1) =>
    padding === "same" ? count * stride[axis] : (count - 1) * stride[axis] + kernel[axis];
  const image = { height: grown(height, 0), width: grown(width, 1), channels: filters };
  const window = windowOf(input, image, "kernelSize", { size, ...sliding }, complain, channels);
  checkPatch(window, complain);
  const output = [image.height, image.width, filters].slice(3 - rank);
  const filter = filtersOf(input, window, [filters, channels], channels);
  return { layer: transposedConvolutionLayer(input, output, window, filter), activation };
}

/** The layer x * w + b of a convolution. */
function convolutionLayer(
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
function transposedConvolutionLayer(
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
    window,
    ...bilinearPasses({
      ...transposed,
      adding: adding(transposed, input, output, kernel.shape),
    }),
  };
}
