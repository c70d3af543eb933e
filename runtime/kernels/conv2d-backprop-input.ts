import { Conv2DBackpropInput, type TensorInfo } from "@tensorflow/tfjs-core";
import { convolution, type ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Registration } from "./registration.js";

/** The gradient of tf.conv2d with respect to its input; also the forward of tf.conv2dTranspose. */
export const conv2dBackpropInput: Registration<
  { dy: TensorInfo; filter: TensorInfo },
  ConvolutionAttributes & { readonly inputShape: readonly number[] }
> = {
  kernelName: Conv2DBackpropInput,
  compute({ inputs: { dy, filter }, attrs, ...call }) {
    checkTensor("Conv2DBackpropInput.filter", filter, 4);
    const form = convolution("Conv2DBackpropInput", attrs.inputShape, filter.shape, attrs);
    if ("obstacle" in form) return call.leave(...form.obstacle);
    checkTensor("Conv2DBackpropInput.dy", dy, 4);
    // An output shape that contradicts the input's, which tf.conv2dTranspose takes.
    if (dy.shape.join() !== form.outShape.join())
      return call.leave("dy", `[${form.outShape.join(", ")}]`, `[${dy.shape.join(", ")}]`);
    const dx = call.output(attrs.inputShape);
    call.kernels.conv2dBackpropInput(
      call.window(form.window),
      form.batch,
      call.addressOf(dy),
      call.addressOf(filter),
      call.addressOf(dx),
      call.scratch,
    );
    return dx;
  },
};
