import { activationNamed } from "../models/layers/activations.js";
import { copy, floats, type Run } from "../models/layers/layer.js";
import type { NetworkLayer } from "../models/network.js";
import { elements } from "../tensors/shape.js";
import type { Place } from "./memory-plan.js";

// A layer's passes with what the plan does around them: the activation, MAN's part of the gradient,
// the bias' gradient, and what several readers of one layer give.

/** A layer, and where its tensors lie. */
export interface Stage {
  readonly layer: NetworkLayer;
  readonly place: Place;
  /** Floats of one example's output, and of its last axis. */
  readonly size: number;
  readonly columns: number;
}

export const stagesOf = (
  layers: readonly NetworkLayer[],
  places: readonly Place[],
): readonly Stage[] =>
  layers.map((layer, i) => ({
    layer,
    place: places[i],
    size: elements(layer.output),
    columns: layer.output[layer.output.length - 1],
  }));

/**
 * MAN's part of the objective F = task loss + (zeta/2) sum_l A_l (Yashwanth et al., WACV 2024,
 * arXiv:2512.08314).
 */
export interface Penalty {
  readonly zeta: number;
  /** Count the logits among the penalised layers. */
  readonly includesLogits: boolean;
}

/** Of each layer zeta / (B n) where its output is penalised, else 0. */
export const penaltiesOf = (
  { batch }: Run,
  stages: readonly Stage[],
  { zeta, includesLogits }: Penalty,
): number[] =>
  stages.map(({ layer: { tap }, size }, i) => {
    if (tap !== undefined) return zeta / (batch * tap.size);
    return includesLogits && i === stages.length - 1 ? zeta / (batch * size) : 0;
  });

/** One layer forward, with its activation. Returns the sum of squares of what is tapped if `norm`. */
export function forward(run: Run, { layer, place, size: one }: Stage, norm: boolean): number {
  const { kernels } = run;
  const { activation, fusesRelu, stateElements } = layer;
  const { y, kept } = place;
  const size = run.batch * one;
  const fused = activation === "relu" && fusesRelu === true;
  const inside = norm && (fused || stateElements !== undefined);
  // Where z is kept, the layer writes it there.
  const squares = layer.forward(run, kept === 0 ? place : { ...place, y: kept }, fused, inside);
  if (activation !== undefined && !fused) {
    if (activation === "relu") {
      const sum = kernels.relu(y, y, size, Number(norm));
      if (norm) return sum;
    } else kernels.activate(activationNamed(activation).kind, kept || y, y, size);
  }
  if (!norm) return 0;
  if (inside) return squares;
  return kernels.squaredNorm(y, size);
}

/** Behind `forward` of the same layer: its output's tangent. */
export function forwardTangent(run: Run, { layer, place, size: one }: Stage): void {
  const { activation } = layer;
  const { y, yTangent, kept, keptTangent } = place;
  layer.forwardTangent(run, place);
  if (activation === undefined) return;
  // yTangent <- f'(z) yTangent; z's tangent is kept where f is curved.
  const size = run.batch * one;
  if (keptTangent !== 0) copy(run, yTangent, keptTangent, size);
  const { kind } = activationNamed(activation);
  run.kernels.activationBackprop(kind, kept, y, yTangent, yTangent, size, 0);
}

/**
 * dy <- f'(z) (dy + penalty y), MAN's gradient and the activation's, and the bias' gradient: the sum
 * of dy's rows.
 */
function backwardActivation(
  { kernels, batch }: Run,
  { layer, place, size: one, columns }: Stage,
  penalty: number,
): void {
  const { activation, bias, stateElements } = layer;
  const { y, dy, gradients, kept } = place;
  const size = batch * one;
  const own = stateElements === undefined ? penalty : 0;
  const dbias = bias === undefined ? 0 : gradients[bias];
  if (activation === "relu") {
    if (dbias !== 0)
      return kernels.reluBackpropSumRows(y, dy, dy, dbias, size / columns, columns, own);
    kernels.reluBackprop(y, dy, dy, size, own);
  } else if (activation !== undefined)
    kernels.activationBackprop(activationNamed(activation).kind, kept, y, dy, dy, size, own);
  else if (own !== 0) kernels.axpy(dy, y, size, own);
  if (dbias !== 0) kernels.sumRows(dy, dbias, size / columns, columns);
}

/** dyTangent <- f'(z) (dyTangent + penalty yTangent) + f''(z) zTangent (dy + penalty y). */
function backwardActivationTangent(
  run: Run,
  { layer, place, size: one }: Stage,
  penalty: number,
): void {
  const { kernels } = run;
  const { activation, stateElements } = layer;
  const { y, dy, yTangent, dyTangent, kept, keptTangent } = place;
  const size = run.batch * one;
  const own = stateElements === undefined ? penalty : 0;
  if (own !== 0) kernels.axpy(dyTangent, yTangent, size, own);
  if (activation === undefined) return;
  const { kind, second } = activationNamed(activation);
  kernels.activationBackprop(kind, kept, y, dyTangent, dyTangent, size, 0);
  if (second === undefined) return;
  const views = [kept === 0 ? y : kept, y, keptTangent, dy, dyTangent];
  const [z, out, along, dys, tangents] = views.map((at) => floats(run, at, size));
  for (let j = 0; j < size; j++)
    tangents[j] += second(z[j], out[j]) * along[j] * (dys[j] + own * out[j]);
}

const add = ({ kernels, batch }: Run, additions: Place["additions"]): void => {
  for (const { from, to, size } of additions) kernels.axpy(to, from, batch * size, 1);
};

/** Through one stage of those that learn: from its output's gradient to what it gives back. */
function backwardStage(
  run: Run,
  stages: readonly Stage[],
  i: number,
  penalties: readonly number[],
): void {
  const { layer, place } = stages[i];
  if (!place.merged) backwardActivation(run, stages[i], penalties[i]);
  const [source] = layer.sources;
  if (source >= 0 && stages[source].place.merged) {
    const { bias = 0 } = stages[source].layer;
    const dbias = stages[source].place.gradients[bias];
    layer.backwardThroughRelu?.(run, place, dbias, penalties[source]);
  } else layer.backward(run, place, penalties[i]);
  add(run, place.additions);
}

/**
 * The backward pass from the output's gradient on.
 * @param penalties MAN's coefficient of each layer
 */
export function backward(run: Run, stages: readonly Stage[], penalties: readonly number[]): void {
  for (let i = stages.length - 1; i >= 0; i--)
    if (stages[i].place.learns) backwardStage(run, stages, i, penalties);
}

/** The same with its tangent, for exact Hessian products. */
export function backwardTangent(
  run: Run,
  stages: readonly Stage[],
  penalties: readonly number[],
): void {
  for (let i = stages.length - 1; i >= 0; i--) {
    const { layer, place, size, columns } = stages[i];
    if (!place.learns) continue;
    backwardActivationTangent(run, stages[i], penalties[i]);
    backwardStage(run, stages, i, penalties);
    layer.backwardTangent(run, place, penalties[i]);
    if (layer.bias !== undefined) {
      const rows = (run.batch * size) / columns;
      run.kernels.sumRows(place.dyTangent, place.products[layer.bias], rows, columns);
    }
    add(run, place.tangentAdditions);
  }
}
