import * as v from "valibot";
import type { Window } from "../../wasm/window.js";
import { activationName } from "./activation.js";
import { transposedConvolutionLayer } from "./convolution.js";
import { axes, checkPatch, imageOf, integerOrPair, padding, positiveInteger } from "./fields.js";
import { layerKind, type Complain, type Resolved, type Shape } from "./layer.js";

const common = {
  filters: positiveInteger,
  strides: v.optional(integerOrPair),
  padding,
  activation: v.optional(activationName),
};

/**
 * The transposed convolution of an image: "same" gives size x stride pixels, "valid" (size - 1) x
 * stride + kernel. Filters [kernelHeight, kernelWidth, filters, channels].
 */
export const conv2dTranspose = layerKind({
  schema: v.strictObject({
    type: v.literal("conv2dTranspose"),
    kernelSize: integerOrPair,
    ...common,
  }),
  takesActivation: true,
  resolve: (description, [input], complain) => transposed(description, input, 3, complain),
});

/** The same along a sequence [length, channels]. */
export const conv1dTranspose = layerKind({
  schema: v.strictObject({
    type: v.literal("conv1dTranspose"),
    kernelSize: positiveInteger,
    ...common,
  }),
  takesActivation: true,
  resolve: (description, [input], complain) => transposed(description, input, 2, complain),
});

interface Transposed {
  readonly filters: number;
  readonly kernelSize: number | readonly [number, number];
  readonly strides?: number | readonly [number, number];
  readonly padding?: "valid" | "same";
  readonly activation?: Resolved["activation"];
}

function transposed(
  { filters, kernelSize, strides = 1, padding = "valid", activation }: Transposed,
  input: Shape,
  rank: 2 | 3,
  complain: Complain,
): Resolved {
  const { height, width, channels } = imageOf(input, [rank], complain);
  const kernel = axes("kernelSize", kernelSize, input, complain);
  const stride = axes("strides", strides, input, complain);
  const grown = (size: number, kernel: number, stride: number) =>
    padding === "same"
      ? { out: size * stride, pad: Math.floor(Math.max(kernel - stride, 0) / 2) }
      : { out: (size - 1) * stride + kernel, pad: 0 };
  const down = grown(height, kernel[0], stride[0]);
  const right = grown(width, kernel[1], stride[1]);
  const window: Window = {
    inHeight: down.out,
    inWidth: right.out,
    inChannels: filters,
    outHeight: height,
    outWidth: width,
    outChannels: channels,
    kernelHeight: kernel[0],
    kernelWidth: kernel[1],
    strideHeight: stride[0],
    strideWidth: stride[1],
    padTop: down.pad,
    padLeft: right.pad,
  };
  checkPatch(window, complain);
  const fanIn = kernel[0] * kernel[1] * channels;
  const shape = [kernel[0], kernel[1], filters, channels];
  const output = rank === 2 ? [right.out, filters] : [down.out, right.out, filters];
  return {
    layer: transposedConvolutionLayer(input, output, window, {
      name: "kernel",
      shape: rank === 2 ? shape.slice(1) : shape,
      initial: { fanIn },
    }),
    activation,
  };
}
