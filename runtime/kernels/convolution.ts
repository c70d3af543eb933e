import { backend_util, type TensorInfo } from "@tensorflow/tfjs-core";
import { MAX_PATCH } from "../wasm/kernels.js";
import type { Window } from "../wasm/window.js";
import type { Call } from "./registration.js";

/** What tfjs hands to every kernel of the convolution family. */
export interface ConvolutionAttributes {
  readonly strides: [number, number] | number;
  readonly pad: "valid" | "same" | number | backend_util.ExplicitPadding;
  readonly dilations?: [number, number] | number | null;
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
  /**
   * Not among the attributes of depthwise convolutions, whose gradients tfjs knows for NHWC alone.
   */
  readonly dataFormat?: "NHWC" | "NCHW";
}

/** What our convolutions cannot do: the argument, what they expect, what it is. */
type Obstacle = [argument: string, expected: string, got: string];

interface Obstructed {
  readonly obstacle: Obstacle;
  /** Why tfjs's own forward must not be called either. */
  readonly beyondTfjs?: Obstacle;
}

/**
 * Shapes and attributes as our kernels' numbers, or what stands against it. NHWC is looked at first: tfjs's own arithmetic
 * of shapes is right for our kernels only there.
 * @throws RangeError where the filter is not for as many channels; Error of tfjs for strides and padding that make no sense.
 */
export function convolution(
  kernelName: string,
  inShape: readonly number[],
  filterShape: readonly number[],
  attrs: ConvolutionAttributes,
  depthwise = false,
):
  | { readonly window: Window; readonly batch: number; readonly outShape: readonly number[] }
  | Obstructed {
  if (attrs.dataFormat !== undefined && attrs.dataFormat !== "NHWC")
    return { obstacle: ["dataFormat", "NHWC", attrs.dataFormat] };
  if (filterShape[2] !== inShape[3])
    throw new RangeError(
      `"${kernelName}.filter" expected ${inShape[3]} input channels, got [${filterShape.join(", ")}]`,
    );
  const info = backend_util.computeConv2DInfo(
    inShape as [number, number, number, number],
    filterShape as [number, number, number, number],
    attrs.strides,
    attrs.dilations ?? 1,
    attrs.pad,
    attrs.dimRoundingMode,
    depthwise,
  );
  const beyondTfjs = miscounted(info, attrs);
  if (info.dilationHeight !== 1 || info.dilationWidth !== 1)
    return {
      obstacle: ["dilations", "1", `[${info.dilationHeight}, ${info.dilationWidth}]`],
      beyondTfjs,
    };
  const patch = info.filterHeight * info.filterWidth * info.inChannels;
  if (!depthwise && patch > MAX_PATCH)
    return {
      obstacle: ["filter", `at most ${MAX_PATCH} inputs per output`, String(patch)],
      beyondTfjs,
    };
  return {
    outShape: info.outShape,
    batch: info.batchSize,
    window: {
      inHeight: info.inHeight,
      inWidth: info.inWidth,
      inChannels: info.inChannels,
      outHeight: info.outHeight,
      outWidth: info.outWidth,
      outChannels: info.outChannels,
      kernelHeight: info.filterHeight,
      kernelWidth: info.filterWidth,
      strideHeight: info.strideHeight,
      strideWidth: info.strideWidth,
      padTop: info.padInfo.top,
      padLeft: info.padInfo.left,
    },
  };
}

/**
 * Leaves a forward to tfjs's own kernel.
 * @throws RangeError where that would write beyond its output, or be wrong; it names kernel and argument.
 */
export function leaveForward(
  call: Pick<Call<unknown, unknown>, "leave" | "refuse">,
  { obstacle, beyondTfjs }: Obstructed,
): TensorInfo {
  return beyondTfjs === undefined ? call.leave(...obstacle) : call.refuse(...beyondTfjs);
}

/**
 * XNNPACK, which tfjs's own forward calls, counts the outputs itself, from window, stride and
 * padding of each side. Where tfjs counted otherwise (it takes the height's numbers for the width
 * where the padding is a number), XNNPACK writes beyond tfjs's tensor; where "same" needs no padding
 * on one side, it shifts the window.
 */
function miscounted(
  { inHeight, inWidth, outHeight, outWidth, strideHeight, strideWidth, padInfo, ...info }: Info,
  { pad }: ConvolutionAttributes,
): Obstacle | undefined {
  const sides = [
    [inHeight, outHeight, info.effectiveFilterHeight, strideHeight, padInfo.top + padInfo.bottom],
    [inWidth, outWidth, info.effectiveFilterWidth, strideWidth, padInfo.left + padInfo.right],
  ] as const;
  const agree = sides.every(([size, count, window, stride, padding]) =>
    pad === "same"
      ? (count - 1) * stride + window >= size
      : count > 0 && count === Math.floor((size + padding - window) / stride) + 1,
  );
  return agree
    ? undefined
    : ["pad", "a padding for which tfjs's own kernel counts as many outputs as tfjs", String(pad)];
}

type Info = ReturnType<typeof backend_util.computeConv2DInfo>;
