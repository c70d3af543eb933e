import { backend_util } from "@tensorflow/tfjs-core";
import type { Window } from "../wasm/window.js";
import type { ConvolutionAttributes } from "./convolution.js";

/** What tfjs hands to every kernel of the pooling family, whose images are always NHWC. */
export interface PoolingAttributes extends Pick<
  ConvolutionAttributes,
  "strides" | "pad" | "dimRoundingMode"
> {
  readonly filterSize: [number, number] | number;
}

/**
 * Shape and attributes of a pool as our kernels' numbers. @throws Error of tfjs for strides and
 * padding that make no sense.
 */
export function pooling(
  inShape: readonly number[],
  { filterSize, strides, pad, dimRoundingMode }: PoolingAttributes,
): {
  readonly window: Window;
  readonly batch: number;
  readonly outShape: readonly number[];
  /** Whether every window lies in the image as a whole. */
  readonly inside: boolean;
} {
  const info = backend_util.computePool2DInfo(
    inShape as [number, number, number, number],
    filterSize,
    strides,
    1,
    pad,
    dimRoundingMode,
  );
  const { top, left } = info.padInfo;
  return {
    outShape: info.outShape,
    batch: info.batchSize,
    window: {
      inHeight: info.inHeight,
      inWidth: info.inWidth,
      inChannels: info.inChannels,
      outHeight: info.outHeight,
      outWidth: info.outWidth,
      outChannels: info.inChannels,
      kernelHeight: info.filterHeight,
      kernelWidth: info.filterWidth,
      strideHeight: info.strideHeight,
      strideWidth: info.strideWidth,
      padTop: top,
      padLeft: left,
    },
    inside:
      top === 0 &&
      left === 0 &&
      (info.outHeight - 1) * info.strideHeight + info.filterHeight <= info.inHeight &&
      (info.outWidth - 1) * info.strideWidth + info.filterWidth <= info.inWidth,
  };
}
