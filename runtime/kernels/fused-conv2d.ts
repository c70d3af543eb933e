import { FusedConv2D, type TensorInfo } from "@tensorflow/tfjs-core";
import { convolution, type ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Registration } from "./registration.js";

/**
 * tf.fused.conv2d with a bias, ReLU, both or neither; other activations and dilations are left to
 * tfjs's own kernel.
 */
export const fusedConv2d: Registration<
  { x: TensorInfo; filter: TensorInfo; bias?: TensorInfo },
  ConvolutionAttributes & { readonly activation: string }
> = {
  kernelName: FusedConv2D,
  compute({ inputs: { x, filter, bias }, attrs, ...call }) {
    checkTensor("FusedConv2D.x", x, 4);
    checkTensor("FusedConv2D.filter", filter, 4);
    if (attrs.activation !== "linear" && attrs.activation !== "relu")
      return call.leave("activation", "linear or relu", attrs.activation);
    const form = convolution("FusedConv2D", x.shape, filter.shape, attrs);
    if ("obstacle" in form) return call.leave(...form.obstacle);
    if (bias) {
      checkTensor("FusedConv2D.bias", bias, [filter.shape[3]]);
    }
    const y = call.output(form.outShape);
    call.kernels.conv2d(
      call.window(form.window),
      form.batch,
      call.addressOf(x),
      call.addressOf(filter),
      call.addressOf(bias),
      call.addressOf(y),
      attrs.activation === "relu" ? 1 : 0,
      0,
      call.scratch,
    );
    return y;
  },
};
