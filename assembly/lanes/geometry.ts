// How windows (of a filter, of a pool) slide over images: runtime/wasm/window.ts writes it, one i32
// after the other. A layer writes it once, since only the batch changes from call to call.

@unmanaged
export class Window {
  inHeight: i32;
  inWidth: i32;
  inChannels: i32;
  outHeight: i32;
  outWidth: i32;
  outChannels: i32;
  kernelHeight: i32;
  kernelWidth: i32;
  strideHeight: i32;
  strideWidth: i32;
  padTop: i32;
  padLeft: i32;
}

// The convolution at work, as its three ways of computation (kernels/conv2d.ts, winograd.ts,
// winograd-rows.ts) read it.

export let batch: i32 = 0, inHeight: i32 = 0, inWidth: i32 = 0, inChannels: i32 = 0;
export let outHeight: i32 = 0, outWidth: i32 = 0, outChannels: i32 = 0;
export let kernelHeight: i32 = 0, kernelWidth: i32 = 0, strideHeight: i32 = 0, strideWidth: i32 = 0;
export let padTop: i32 = 0, padLeft: i32 = 0;

export function setGeometry(window: Window, batch_: i32): void {
  batch = batch_;
  inHeight = window.inHeight;
  inWidth = window.inWidth;
  inChannels = window.inChannels;
  outHeight = window.outHeight;
  outWidth = window.outWidth;
  outChannels = window.outChannels;
  kernelHeight = window.kernelHeight;
  kernelWidth = window.kernelWidth;
  strideHeight = window.strideHeight;
  strideWidth = window.strideWidth;
  padTop = window.padTop;
  padLeft = window.padLeft;
}
