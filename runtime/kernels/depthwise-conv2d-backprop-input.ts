import { DepthwiseConv2dNativeBackpropInput, type TensorInfo } from "@tensorflow/tfjs-core";
import { convolution, type ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Registration } from "./registration.js";

/** The gradient of tf.depthwiseConv2d with respect to its input, which tfjs-wasm lacks. */
export const depthwiseConv2dBackpropInput: Registration<
  { dy: TensorInfo; filter: TensorInfo },
  ConvolutionAttributes & { readonly inputShape: readonly number[] }
> = {
  kernelName: DepthwiseConv2dNativeBackpropInput,
  compute({ inputs: { dy, filter }, attrs, ...call }) {
    checkTensor("DepthwiseConv2dNativeBackpropInput.filter", filter, 4);
    const form = convolution(
      "DepthwiseConv2dNativeBackpropInput",
      attrs.inputShape,
      filter.shape,
      attrs,
      true,
    );
    if ("obstacle" in form) return call.leave(...form.obstacle);
    checkTensor("DepthwiseConv2dNativeBackpropInput.dy", dy, form.outShape);
    const dx = call.output(attrs.inputShape);
    call.kernels.depthwiseConv2dBackpropInput(
      call.window(form.window),
      form.batch,
      call.addressOf(dy),
      call.addressOf(filter),
      call.addressOf(dx),
    );
    return dx;
  },
};
