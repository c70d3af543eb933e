import { BatchMatMul, type TensorInfo } from "@tensorflow/tfjs-core";
import { matMul, type MatMulAttributes } from "./mat-mul.js";
import type { Registration } from "./registration.js";

/**
 * tf.matMul; with transposes, which dense layers' gradients need, tfjs's own takes ten times as
 * long.
 */
export const batchMatMul: Registration<{ a: TensorInfo; b: TensorInfo }, MatMulAttributes> = {
  kernelName: BatchMatMul,
  compute: (call) => matMul("BatchMatMul", call),
};
