import { MaxPoolGrad, type TensorInfo } from "@tensorflow/tfjs-core";
import { elements } from "../tensors/shape.js";
import { pooling, type PoolingAttributes } from "./pooling.js";
import { checkTensor, type Registration } from "./registration.js";

/**
 * The gradient of tf.maxPool. tfjs-wasm has one, but it takes several times as long, and where
 * several elements of a window are the largest it gives another one the gradient than tfjs's cpu
 * backend does, which takes the first.
 */
export const maxPoolGrad: Registration<{ dy: TensorInfo; input: TensorInfo }, PoolingAttributes> = {
  kernelName: MaxPoolGrad,
  compute({ inputs: { dy, input }, attrs, ...call }) {
    checkTensor("MaxPoolGrad.input", input, 4);
    const { window, batch, outShape } = pooling(input.shape, attrs);
    checkTensor("MaxPoolGrad.dy", dy, outShape);
    const outSize = elements(outShape);
    const dx = call.output(input.shape);
    const argmax = call.borrow(4 * outSize);
    call.kernels.maxPool(
      call.window(window),
      batch,
      call.addressOf(input),
      call.borrow(4 * outSize),
      argmax,
    );
    call.kernels.maxPoolBackprop(
      call.addressOf(dy),
      argmax,
      call.addressOf(dx),
      elements(input.shape),
      outSize,
    );
    return dx;
  },
};
