import { huber, meanAbsoluteError, meanSquaredError } from "./regression.js";
import { sigmoidCrossEntropy } from "./sigmoid-cross-entropy.js";
import { softmaxCrossEntropy } from "./softmax-cross-entropy.js";

/** Every kind of loss, by the name that stands in a description's `loss.type`. */
export const LOSS_KINDS = {
  softmaxCrossEntropy,
  sigmoidCrossEntropy,
  meanSquaredError,
  meanAbsoluteError,
  huber,
} as const;
