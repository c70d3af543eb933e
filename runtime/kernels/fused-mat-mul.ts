import { _FusedMatMul, type TensorInfo } from "@tensorflow/tfjs-core";
import { matMul, type MatMulAttributes } from "./mat-mul.js";
import { checkTensor, type Registration } from "./registration.js";

/**
 * tf.fused.matMul with a bias, ReLU, both or neither; other activations are left to tfjs's own
 * kernel.
 */
export const fusedMatMul: Registration<
  { a: TensorInfo; b: TensorInfo; bias?: TensorInfo },
  MatMulAttributes & { readonly activation: string }
> = {
  kernelName: _FusedMatMul,
  compute(call) {
    const { activation, transposeB } = call.attrs;
    const { b, bias } = call.inputs;
    if (activation !== "linear" && activation !== "relu")
      return call.leave("activation", "linear or relu", activation);
    if (bias) {
      const columns = b.shape.at(transposeB ? -2 : -1)!;
      checkTensor("_FusedMatMul.bias", bias, [columns]);
    }
    return matMul("_FusedMatMul", call, bias, activation === "relu");
  },
};
