import type { Lab } from "./fixtures.js";
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

/** The first arguments of a kernel with windows: its window, put into memory, and the batch. */
export const windowOf = (
  lab: Lab,
  g: Windows,
  outChannels = g.inChannels,
): [window: number, batch: number] => [
  lab.put(
    Int32Array.of(
      ...[g.inHeight, g.inWidth, g.inChannels, g.outHeight, g.outWidth, outChannels],
      ...[g.kernelHeight, g.kernelWidth, g.strideHeight, g.strideWidth, g.padTop, g.padLeft],
    ),
  ).address,
  g.batch,
];
