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

/** The same, and the bias' gradient: the sum of dy over all rows of `columns` numbers. */
export function biasedActivationBackward(
  run: Run,
  cells: Cells,
  form: Pick<Layer, "rectified" | "output">,
  columns: number,
  penalty: number,
): void {
  const { kernels, batch } = run;
  const { y, dy, gradients } = cells;
  const rows = (batch * elements(form.output)) / columns;
  if (form.rectified) kernels.reluBackpropSumRows(y, dy, dy, gradients[1], rows, columns, penalty);
  else {
    activationBackward(run, cells, form, penalty);
    kernels.sumRows(dy, gradients[1], rows, columns);
  }
}

/** yTangent <- yTangent masked by the ReLU. */
export function activationTangent(
  { kernels, batch }: Run,
  { y, yTangent }: Cells,
  { rectified, output }: Pick<Layer, "rectified" | "output">,
): void {
  if (rectified) kernels.reluBackprop(y, yTangent, yTangent, batch * elements(output), 0);
}

/**
 * dyTangent <- (dyTangent + penalty yTangent) masked by the ReLU, whose own second derivative is
 * zero.
 */
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
