import { _FusedMatMul, type TensorInfo } from "@tensorflow/tfjs-core";
import { activated, type ActivationAttributes } from "./activation.js";
import { matMul, type MatMulAttributes } from "./mat-mul.js";
import { checkTensor, type Registration } from "./registration.js";

/** tf.fused.matMul, which tfjs-wasm gets wrong with a bias and a transposed `b`. */
export const fusedMatMul: Registration<
  {
    a: TensorInfo;
    b: TensorInfo;
    bias?: TensorInfo;
    preluActivationWeights?: TensorInfo;
  },
  MatMulAttributes & ActivationAttributes
> = {
  kernelName: _FusedMatMul,
  compute(call) {
    const { b, bias, preluActivationWeights } = call.inputs;
    if (bias) {
      const columns = b.shape.at(call.attrs.transposeB ? -2 : -1)!;
      checkTensor("_FusedMatMul.bias", bias, [columns]);
    }
    const y = (relu: boolean) => matMul("_FusedMatMul", call, bias, relu);
    return activated(call, call.attrs, y, preluActivationWeights);
  },
};
