import { backend_util } from "@tensorflow/tfjs-core";
import type { ConvolutionAttributes } from "./convolution.js";

/** What tfjs hands to every kernel of the pooling family, whose images are always NHWC. */
export interface PoolingAttributes extends Pick<
  ConvolutionAttributes,
  "strides" | "pad" | "dimRoundingMode"
> {
  readonly filterSize: [number, number] | number;
}

/** The numbers that our pools take after their addresses, in their order. */
type PoolGeometry = [
  batch: number,
  inHeight: number,
  inWidth: number,
  channels: number,
  outHeight: number,
  outWidth: number,
  kernelHeight: number,
  kernelWidth: number,
  strideHeight: number,
  strideWidth: number,
  padTop: number,
  padLeft: number,
];

/**
 * Shape and attributes of a pool as our kernels' numbers. @throws Error of tfjs for strides and
 * padding that make no sense.
 */
export function pooling(
  inShape: readonly number[],
  { filterSize, strides, pad, dimRoundingMode }: PoolingAttributes,
): {
  readonly geometry: PoolGeometry;
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
    geometry: [
      info.batchSize,
      info.inHeight,
      info.inWidth,
      info.inChannels,
      info.outHeight,
      info.outWidth,
      info.filterHeight,
      info.filterWidth,
      info.strideHeight,
      info.strideWidth,
      top,
      left,
    ],
    inside:
      top === 0 &&
      left === 0 &&
      (info.outHeight - 1) * info.strideHeight + info.filterHeight <= info.inHeight &&
      (info.outWidth - 1) * info.strideWidth + info.filterWidth <= info.inWidth,
  };
}
