/**
 * How windows (of a filter, of a pool) slide over images [inHeight, inWidth, inChannels]. The window
 * of output (y, x) begins at (y strideHeight - padTop, x strideWidth - padLeft). A sequence is an
 * image of height 1. `outChannels` of a pool are its `inChannels`; of a depthwise convolution a
 * multiple of them.
 */
export interface Window {
  readonly inHeight: number;
  readonly inWidth: number;
  readonly inChannels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly outChannels: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly strideHeight: number;
  readonly strideWidth: number;
  readonly padTop: number;
  readonly padLeft: number;
}

/** Words of int32 that a window takes in the kernels' memory. */
export const WINDOW_WORDS = 12;

/** Writes a window where kernels read it; the order is that of assembly/lanes/geometry.ts. */
export function writeWindow(memory: WebAssembly.Memory, address: number, window: Window): void {
  new Int32Array(memory.buffer, address, WINDOW_WORDS).set([
    window.inHeight,
    window.inWidth,
    window.inChannels,
    window.outHeight,
    window.outWidth,
    window.outChannels,
    window.kernelHeight,
    window.kernelWidth,
    window.strideHeight,
    window.strideWidth,
    window.padTop,
    window.padLeft,
  ]);
}
