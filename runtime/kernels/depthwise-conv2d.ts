import {
  DepthwiseConv2dNative,
  FusedDepthwiseConv2D,
  type TensorInfo,
} from "@tensorflow/tfjs-core";
import { activated, type ActivationAttributes } from "./activation.js";
import { convolution, leaveForward, type ConvolutionAttributes } from "./convolution.js";
import { checkTensor, type Call, type Registration } from "./registration.js";

/** tf.depthwiseConv2d, forward. Dilated ones are left to tfjs's own kernel. */
export const depthwiseConv2d: Registration<
  { x: TensorInfo; filter: TensorInfo },
  ConvolutionAttributes
> = {
  kernelName: DepthwiseConv2dNative,
  compute: (call) => forward(DepthwiseConv2dNative, call, undefined, (y) => y(false)),
};

/** tf.fused.depthwiseConv2d. Dilated ones are left to tfjs's own kernel. */
export const fusedDepthwiseConv2d: Registration<
  {
    x: TensorInfo;
    filter: TensorInfo;
    bias?: TensorInfo;
    preluActivationWeights?: TensorInfo;
  },
  ConvolutionAttributes & ActivationAttributes
> = {
  kernelName: FusedDepthwiseConv2D,
  compute(call) {
    const { bias, preluActivationWeights } = call.inputs;
    return forward(FusedDepthwiseConv2D, call, bias, (y) =>
      activated(call, call.attrs, y, preluActivationWeights),
    );
  },
};

function forward(
  name: string,
  call: Call<{ x: TensorInfo; filter: TensorInfo }, ConvolutionAttributes>,
  bias: TensorInfo | undefined,
  finish: (y: (relu: boolean) => TensorInfo) => TensorInfo,
): TensorInfo {
  const { x, filter } = call.inputs;
  checkTensor(`${name}.x`, x, 4);
  checkTensor(`${name}.filter`, filter, 4);
  const form = convolution(name, x.shape, filter.shape, call.attrs, true);
  if ("obstacle" in form) return leaveForward(call, form);
  if (bias) checkTensor(`${name}.bias`, bias, [form.window.outChannels]);
  return finish((relu) => {
    const y = call.output(form.outShape);
    call.kernels.depthwiseConv2d(
      call.window(form.window),
      form.batch,
      call.addressOf(x),
      call.addressOf(filter),
      call.addressOf(bias),
      call.addressOf(y),
      relu ? 1 : 0,
      0,
    );
    return y;
  });
}
