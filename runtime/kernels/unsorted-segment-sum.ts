import { UnsortedSegmentSum, type TensorInfo } from "@tensorflow/tfjs-core";
import { elements } from "../tensors/shape.js";
import { checkTensor, type Registration } from "./registration.js";

/**
 * tf.unsortedSegmentSum, which tfjs-wasm lacks (tensorflow/tfjs#8082): the gradient of tf.gather
 * rests on it.
 */
export const unsortedSegmentSum: Registration<
  { x: TensorInfo; segmentIds: TensorInfo },
  { readonly numSegments: number }
> = {
  kernelName: UnsortedSegmentSum,
  compute({ inputs: { x, segmentIds }, attrs: { numSegments }, ...call }) {
    checkTensor("UnsortedSegmentSum.x", x, Math.max(1, x.shape.length));
    const [rows, ...rest] = x.shape;
    checkTensor("UnsortedSegmentSum.segmentIds", segmentIds, [rows], "int32");
    const out = call.output([numSegments, ...rest]);
    call.kernels.unsortedSegmentSum(
      call.addressOf(x),
      call.addressOf(segmentIds),
      call.addressOf(out),
      rows,
      elements(rest),
      numSegments,
    );
    return out;
  },
};
