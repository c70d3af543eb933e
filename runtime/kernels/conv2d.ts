import { Conv2D, type TensorInfo } from "@tensorflow/tfjs-core";
import { convolution, leaveForward, type ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Registration } from "./registration.js";

/** tf.conv2d and tf.conv1d, forward. Dilated ones are left to tfjs's own kernel. */
export const conv2d: Registration<{ x: TensorInfo; filter: TensorInfo }, ConvolutionAttributes> = {
  kernelName: Conv2D,
  compute({ inputs: { x, filter }, attrs, ...call }) {
    checkTensor("Conv2D.x", x, 4);
    checkTensor("Conv2D.filter", filter, 4);
    const form = convolution("Conv2D", x.shape, filter.shape, attrs);
    if ("obstacle" in form) return leaveForward(call, form);
    const y = call.output(form.outShape);
    call.kernels.conv2d(
      call.window(form.window),
      form.batch,
      call.addressOf(x),
      call.addressOf(filter),
      0,
      call.addressOf(y),
      0,
      0,
      call.scratch,
    );
    return y;
  },
};
