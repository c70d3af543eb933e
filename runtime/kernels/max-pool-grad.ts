import {
  backend_util,
  MaxPoolGrad,
  type TensorInfo,
} from "@tensorflow/tfjs-core";
import type { ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Registration } from "./registration.js";

/**
 * The gradient of tf.maxPool. tfjs-wasm has one, but it takes several times as long, and where several elements of a window are
 * the largest it gives another one the gradient than tfjs's cpu backend does, which takes the first.
 */
export const maxPoolGrad: Registration<
  { dy: TensorInfo; input: TensorInfo },
  ConvolutionAttributes & { readonly filterSize: [number, number] | number }
> = {
  kernelName: MaxPoolGrad,
  compute({ inputs: { dy, input }, attrs, ...call }) {
    checkTensor("MaxPoolGrad.input", input, 4);
    const info = backend_util.computePool2DInfo(
      input.shape as [number, number, number, number],
      attrs.filterSize,
      attrs.strides,
      1,
      attrs.pad,
      attrs.dimRoundingMode,
    );
    checkTensor("MaxPoolGrad.dy", dy, info.outShape);
    const dx = call.output(input.shape);
    const inSize = info.inShape.reduce((product, length) => product * length);
    const outSize = info.outShape.reduce((product, length) => product * length);
    const argmax = call.borrow(4 * outSize);
    call.kernels.maxPool(
      call.addressOf(input),
      call.borrow(4 * outSize),
      argmax,
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
      info.padInfo.top,
      info.padInfo.left,
    );
    call.kernels.maxPoolBackprop(
      call.addressOf(dy),
      argmax,
      call.addressOf(dx),
      inSize,
      outSize,
    );
    return dx;
  },
};
