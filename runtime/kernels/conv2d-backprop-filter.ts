import { Conv2DBackpropFilter, type TensorInfo } from "@tensorflow/tfjs-core";
import { convolution, type ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Registration } from "./registration.js";

/**
 * The gradient of tf.conv2d with respect to its filter, which tfjs-wasm lacks
 * (tensorflow/tfjs#8474).
 */
export const conv2dBackpropFilter: Registration<
  { x: TensorInfo; dy: TensorInfo },
  ConvolutionAttributes & { readonly filterShape: readonly number[] }
> = {
  kernelName: Conv2DBackpropFilter,
  compute({ inputs: { x, dy }, attrs, ...call }) {
    checkTensor("Conv2DBackpropFilter.x", x, 4);
    const form = convolution("Conv2DBackpropFilter", x.shape, attrs.filterShape, attrs);
    if ("obstacle" in form) return call.leave(...form.obstacle);
    checkTensor("Conv2DBackpropFilter.dy", dy, form.outShape);
    const dw = call.output(attrs.filterShape);
    call.kernels.conv2dBackpropFilter(
      call.window(form.window),
      form.batch,
      call.addressOf(x),
      call.addressOf(dy),
      call.addressOf(dw),
      call.scratch,
    );
    return dw;
  },
};
