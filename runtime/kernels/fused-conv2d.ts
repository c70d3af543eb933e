import { FusedConv2D, type TensorInfo } from "@tensorflow/tfjs-core";
import { activated, type ActivationAttributes } from "./activation.js";
import { convolution, leaveForward, type ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Registration } from "./registration.js";

/** tf.fused.conv2d. Dilated ones are left to tfjs's own kernel. */
export const fusedConv2d: Registration<
  {
    x: TensorInfo;
    filter: TensorInfo;
    bias?: TensorInfo;
    preluActivationWeights?: TensorInfo;
  },
  ConvolutionAttributes & ActivationAttributes
> = {
  kernelName: FusedConv2D,
  compute({ inputs: { x, filter, bias, preluActivationWeights }, attrs, ...call }) {
    checkTensor("FusedConv2D.x", x, 4);
    checkTensor("FusedConv2D.filter", filter, 4);
    const form = convolution("FusedConv2D", x.shape, filter.shape, attrs);
    if ("obstacle" in form) return leaveForward(call, form);
    if (bias) checkTensor("FusedConv2D.bias", bias, [filter.shape[3]]);
    const y = (relu: boolean) => {
      const y = call.output(form.outShape);
      call.kernels.conv2d(
        call.window(form.window),
        form.batch,
        call.addressOf(x),
        call.addressOf(filter),
        call.addressOf(bias),
        call.addressOf(y),
        relu ? 1 : 0,
        0,
        call.scratch,
      );
      return y;
    };
    return activated(call, attrs, y, preluActivationWeights);
  },
};
