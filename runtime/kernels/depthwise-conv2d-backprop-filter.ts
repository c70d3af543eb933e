import { DepthwiseConv2dNativeBackpropFilter, type TensorInfo } from "@tensorflow/tfjs-core";
import { convolution, type ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Registration } from "./registration.js";

/** The gradient of tf.depthwiseConv2d with respect to its filter, which tfjs-wasm lacks. */
export const depthwiseConv2dBackpropFilter: Registration<
  { x: TensorInfo; dy: TensorInfo },
  ConvolutionAttributes & { readonly filterShape: readonly number[] }
> = {
  kernelName: DepthwiseConv2dNativeBackpropFilter,
  compute({ inputs: { x, dy }, attrs, ...call }) {
    checkTensor("DepthwiseConv2dNativeBackpropFilter.x", x, 4);
    const form = convolution(
      "DepthwiseConv2dNativeBackpropFilter",
      x.shape,
      attrs.filterShape,
      attrs,
      true,
    );
    if ("obstacle" in form) return call.leave(...form.obstacle);
    checkTensor("DepthwiseConv2dNativeBackpropFilter.dy", dy, form.outShape);
    const dw = call.output(attrs.filterShape);
    call.kernels.depthwiseConv2dBackpropFilter(
      call.window(form.window),
      form.batch,
      call.addressOf(x),
      call.addressOf(dy),
      call.addressOf(dw),
    );
    return dw;
  },
};
