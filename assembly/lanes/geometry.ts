// The convolution at work, as its three ways of computation (kernels/conv2d.ts, winograd.ts,
// winograd-rows.ts) read it.

export let batch: i32 = 0, inHeight: i32 = 0, inWidth: i32 = 0, inChannels: i32 = 0;
export let outHeight: i32 = 0, outWidth: i32 = 0, outChannels: i32 = 0;
export let kernelHeight: i32 = 0, kernelWidth: i32 = 0, strideHeight: i32 = 0, strideWidth: i32 = 0;
export let padTop: i32 = 0, padLeft: i32 = 0;

export function setGeometry(
  batch_: i32, inHeight_: i32, inWidth_: i32, inChannels_: i32, outHeight_: i32, outWidth_: i32, outChannels_: i32,
  kernelHeight_: i32, kernelWidth_: i32, strideHeight_: i32, strideWidth_: i32, padTop_: i32, padLeft_: i32,
): void {
  batch = batch_;
  inHeight = inHeight_;
  inWidth = inWidth_;
  inChannels = inChannels_;
  outHeight = outHeight_;
  outWidth = outWidth_;
  outChannels = outChannels_;
  kernelHeight = kernelHeight_;
  kernelWidth = kernelWidth_;
  strideHeight = strideHeight_;
  strideWidth = strideWidth_;
  padTop = padTop_;
  padLeft = padLeft_;
}
