import { elements, type Cells, type Layer, type Run } from "./layer.js";

// What every layer with an optional ReLU does to its gradients before its own backward pass.

/** dy <- (dy + penalty y) masked by the ReLU: MAN's gradient and the mask in one pass. */
export function activationBackward(
  { kernels, batch }: Run,
  { y, dy }: Cells,
  { rectified, output }: Pick<Layer, "rectified" | "output">,
  penalty: number,
): void {
  const size = batch * elements(output);
  if (rectified) kernels.reluBackprop(y, dy, dy, size, penalty);
  else if (penalty !== 0) kernels.axpy(dy, y, size, penalty);
}

/** yTangent <- yTangent masked by the ReLU. */
export function activationTangent(
  { kernels, batch }: Run,
  { y, yTangent }: Cells,
  { rectified, output }: Pick<Layer, "rectified" | "output">,
): void {
  if (rectified)
    kernels.reluBackprop(y, yTangent, yTangent, batch * elements(output), 0);
}

/** dyTangent <- (dyTangent + penalty yTangent) masked by the ReLU, whose own second derivative is zero. */
export function activationBackwardTangent(
  { kernels, batch }: Run,
  { y, yTangent, dyTangent }: Cells,
  { rectified, output }: Pick<Layer, "rectified" | "output">,
  penalty: number,
): void {
  const size = batch * elements(output);
  if (penalty !== 0) kernels.axpy(dyTangent, yTangent, size, penalty);
  if (rectified) kernels.reluBackprop(y, dyTangent, dyTangent, size, 0);
}
