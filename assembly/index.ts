// What runtime/wasm/kernels.ts describes: one file per kernel family.
export { gemm, holdRight } from "./kernels/gemm";
export { conv2d, conv2dBackpropInput, conv2dBackpropFilter } from "./kernels/conv2d";
export { depthwiseConv2d, depthwiseConv2dBackpropInput, depthwiseConv2dBackpropFilter } from "./kernels/depthwise";
export { maxPool, maxPoolBackprop, maxPoolReluBackprop, gatherByIndex, avgPool, avgPoolBackprop } from "./kernels/pool";
export { groupNorm, groupNormBackprop } from "./kernels/group-norm";
export { scaleColumns, scaleColumnsBackprop, sumColumnProducts } from "./kernels/batch-norm";
export { relu, reluBackprop, reluBackpropSumRows, squaredNorm } from "./kernels/activation-norm";
export {
  softmaxCrossEntropy, countCorrect, softmaxRows, softmaxRowsBackprop, sigmoidCrossEntropy, regressionLoss,
} from "./kernels/loss";
export { activate, activationBackprop } from "./kernels/activation";
export { lookUp, lookUpBackprop, copyColumns } from "./kernels/rows";
export { axpy, multiply, sumRows, unsortedSegmentSum } from "./kernels/vector";
export { stepSquaredNorm, step, samAscent, asamSquaredNorm, asamAscent } from "./kernels/optimizer";
export { foldFloat32, foldFloat16, foldInt8, checkRange, checkRangeFloat16 } from "./kernels/fold";
export {
  lstmStep, lstmStepBackprop, gruGates, gruStep, gruStepBackprop, gruGatesBackprop,
} from "./kernels/recurrent";
