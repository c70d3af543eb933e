import { windows, type Windows } from "./reference.js";

/**
 * batch, [height, width, channels], [kernelHeight, kernelWidth], and outChannels or a multiplier.
 */
export type Case = readonly [
  batch: number,
  input: readonly [number, number, number],
  kernel: readonly [number, number],
  channels: number,
];

const STRIDES: readonly (readonly [number, number])[] = [
  [1, 1],
  [2, 2],
  [3, 3],
  [1, 2],
  [3, 1],
];

/** Calls `check` for every case, stride and padding. */
export function eachGeometry(
  cases: readonly Case[],
  check: (g: Windows, channels: number, what: string) => void,
): void {
  for (const [batch, input, kernel, channels] of cases)
    for (const stride of STRIDES)
      for (const padding of ["valid", "same"] as const)
        check(
          windows(batch, input, kernel, stride, padding),
          channels,
          `${batch} x ${input} * ${kernel} x ${channels}, stride ${stride}, ${padding}`,
        );
}

/**
 * The arguments of a convolution kernel after its buffers; `channels` is outChannels or the
 * multiplier.
 */
export const geometry = (g: Windows, channels: number) =>
  [
    g.batch,
    g.inHeight,
    g.inWidth,
    g.inChannels,
    g.outHeight,
    g.outWidth,
    channels,
    g.kernelHeight,
    g.kernelWidth,
    g.strideHeight,
    g.strideWidth,
    g.padTop,
    g.padLeft,
  ] as const;

/** The arguments of a pooling kernel after its buffers. */
export const poolGeometry = (g: Windows) =>
  [
    g.batch,
    g.inHeight,
    g.inWidth,
    g.inChannels,
    g.outHeight,
    g.outWidth,
    g.kernelHeight,
    g.kernelWidth,
    g.strideHeight,
    g.strideWidth,
    g.padTop,
    g.padLeft,
  ] as const;
