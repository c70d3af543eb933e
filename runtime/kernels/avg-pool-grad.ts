import { AvgPoolGrad, type TensorInfo } from "@tensorflow/tfjs-core";
import { pooling, type PoolingAttributes } from "./pooling.js";
import { checkTensor, type Registration } from "./registration.js";

/**
 * The gradient of tf.avgPool, for which tfjs-wasm's own takes many times as long. Where windows
 * reach outside the image it is left to that one: tfjs then divides by the whole window, in the
 * gradient though not in the mean itself, on all its backends.
 */
export const avgPoolGrad: Registration<{ dy: TensorInfo; input: TensorInfo }, PoolingAttributes> = {
  kernelName: AvgPoolGrad,
  compute({ inputs: { dy, input }, attrs, ...call }) {
    checkTensor("AvgPoolGrad.input", input, 4);
    const { window, batch, outShape, inside } = pooling(input.shape, attrs);
    if (!inside) return call.leave("pad", "windows inside the image", attrs.pad);
    checkTensor("AvgPoolGrad.dy", dy, outShape);
    const dx = call.output(input.shape);
    call.kernels.avgPoolBackprop(
      call.window(window),
      batch,
      call.addressOf(dy),
      call.addressOf(dx),
    );
    return dx;
  },
};
