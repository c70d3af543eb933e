import { activationNamed } from "../models/layers/activations.js";
import { copy, floats, type Run } from "../models/layers/layer.js";
import type { LossCells } from "../models/losses/loss.js";
import type { Network } from "../models/network.js";
import type { Vector } from "../tensors/layout.js";
import type { Random } from "../tensors/random.js";
import { elements } from "../tensors/shape.js";
import type { Heap, Kernels } from "../wasm/kernels.js";
import { writeWindow } from "../wasm/window.js";
import { arrange, memoryNeeded, type Place, type Purpose } from "./memory-plan.js";

/** What one batch measured. */
interface BatchResult {
  /** The task's loss, a mean over what counts in the batch, without MAN. */
  readonly loss: number;
  /** What the mean is over: examples, labels that are not left out, or numbers. */
  readonly count: number;
  /** Labels at which the largest logit is; 0 where the loss is not one of classes. */
  readonly correct: number;
}

export interface ObjectiveResult extends BatchResult {
  /** A_l of each tap (`Plan.taps`), mean over batch and elements of a^2. */
  readonly activationNorms: readonly number[];
}

/**
 * MAN's part of the objective F = task loss + (zeta/2) sum_l A_l (Yashwanth et al., WACV 2024,
 * arXiv:2512.08314).
 */
interface Penalty {
  readonly zeta: number;
  /** Count the logits among the penalised layers. */
  readonly includesLogits: boolean;
}

/**
 * A network compiled for one heap and a largest batch: every buffer allocated once, every pass a
 * fixed list of kernel calls. The caller puts examples into `inputs()` and classes into `labels()`,
 * then runs a pass over the first `batch` of them. Views are valid until something is allocated on
 * the heap, so ask for them again.
 */
export interface Plan {
  readonly network: Network;
  readonly maxBatch: number;
  readonly kernels: Kernels;
  readonly heap: Heap;
  /** Bytes that the plan holds. */
  readonly bytes: number;
  /**
   * Names of the activations whose norms are measured: `${layer index}.${type}` of what says the
   * activation, in layer order; the logits' norm comes behind them where the penalty includes it.
   */
  readonly taps: readonly string[];
  /** Addresses of float32 vectors over the layout; `gradient` is 0 in a plan that only predicts. */
  readonly parameters: number;
  readonly gradient: number;
  /** Normalised examples, [maxBatch, ...input]. */
  inputs(): Float32Array;
  /** Classes, where the loss compares with such: one for each example, or for each of its positions. */
  labels(): Int32Array;
  /** Numbers, where the loss compares with such. */
  targets(): Float32Array;
  /**
   * x <- factors x + offsets, element by element of each of the first `batch` inputs; the vectors
   * have one example's size.
   */
  scaleInputs(batch: number, factors: Float32Array, offsets: Float32Array): void;
  /** Copies weights in, and out. */
  setWeights(weights: Vector): void;
  weights(): Vector;
  /** The output of the batch as a view [batch, ...output]; dropout is off. */
  forward(batch: number): Float32Array;
  /** Loss and hits of the batch; dropout is off. */
  evaluate(batch: number): BatchResult;
  /**
   * Objective and its gradient with respect to all parameters, into `gradient`, at the weights that
   * lie at address `parameters`. `chance` is what dropout draws from.
   */
  lossAndGradient(batch: number, penalty: Penalty, chance: Random): ObjectiveResult;
  /**
   * The direction of `hessianProduct`, and what it writes: float32 vectors over the layout; 0
   * unless for curvature.
   */
  readonly direction: number;
  readonly product: number;
  /**
   * The Hessian of the objective of the batch times the vector at `direction`, into `product`:
   * exact, by Pearlmutter's R-operator (1994) through every layer; dropout is off. Writes
   * `gradient` too.
   */
  hessianProduct(batch: number, penalty: Penalty): void;
  /** Gives the memory back; the plan is of no more use. */
  free(): void;
}

/**
 * Allocates the plan's memory (in one piece) and binds the network's passes to it.
 * @throws whatever the heap throws where it cannot give `memoryNeeded` bytes.
 */
export function compile(
  network: Network,
  maxBatch: number,
  kernels: Kernels,
  heap: Heap,
  purpose: Purpose = "train",
): Plan {
  const bytes = memoryNeeded(network, maxBatch, purpose);
  const base = heap.allocate(bytes);
  const arrangement = arrange(network, maxBatch, purpose, base);
  const { layers, layout, loss } = network;
  const places = arrangement.layers;
  const last = layers.length - 1;
  const run: Run = {
    kernels,
    memory: heap.memory,
    scratch: arrangement.scratch,
    temporary: arrangement.temporary,
    batch: 0,
    remember: false,
  };
  layers.forEach(({ window }, i) => {
    if (window !== undefined) writeWindow(heap.memory, places[i].window, window);
  });
  floats(run, arrangement.constants, loss.constants.length).set(loss.constants);
  const outputSize = elements(network.output);
  const sizes = layers.map(({ output }) => elements(output));
  const taps = layers.flatMap(({ tap }) => (tap === undefined ? [] : [tap.name]));
  const parameterView = () => floats(run, arrangement.parameters, layout.size);
  const lossCells: LossCells = {
    output: places[last].y,
    target: arrangement.targets,
    constants: arrangement.constants,
    gradient: places[last].dy,
  };

  const begin = (batch: number, remember: boolean, chance?: Random): void => {
    if (!(batch >= 1 && batch <= maxBatch))
      throw new RangeError(`"batch" expected 1 to ${maxBatch}, got ${batch}`);
    if (remember && purpose === "predict")
      throw new RangeError(`"purpose" expected "train", got "predict"`);
    run.batch = batch;
    run.remember = remember;
    run.random = chance;
  };

  /** One layer forward, with its activation. Returns the sum of squares of what is tapped if `norm`. */
  const forwardLayer = (i: number, norm: boolean): number => {
    const { activation, fusesRelu, stateElements } = layers[i];
    const { y, kept } = places[i];
    const size = run.batch * sizes[i];
    const fused = activation === "relu" && fusesRelu === true;
    const inside = norm && (fused || stateElements !== undefined);
    const squares = layers[i].forward(run, places[i], fused, inside);
    if (activation !== undefined && !fused) {
      if (kept !== 0) copy(run, y, kept, size);
      if (activation === "relu") {
        const sum = kernels.relu(y, y, size, Number(norm));
        if (norm) return sum;
      } else kernels.activate(activationNamed(activation).kind, y, y, size);
    }
    if (!norm) return 0;
    if (inside) return squares;
    return kernels.squaredNorm(y, size);
  };
  const forward = (batch: number): void => {
    begin(batch, false);
    for (let i = 0; i < layers.length; i++) forwardLayer(i, false);
  };
  const measure = (gradient: number): BatchResult => {
    const cells = { ...lossCells, gradient };
    const count = loss.count(run, cells);
    return {
      loss: loss.mean(run, cells, count),
      count,
      correct: loss.hits?.(run, cells) ?? 0,
    };
  };

  /** zeta / (B n) where the layer's output is penalised, else 0. */
  const coefficients = ({ zeta, includesLogits }: Penalty): number[] =>
    layers.map(({ tap }, i) => {
      if (tap !== undefined) return zeta / (run.batch * tap.size);
      return includesLogits && i === last ? zeta / (run.batch * sizes[i]) : 0;
    });

  /**
   * dy <- f'(z) (dy + penalty y), MAN's gradient and the activation's, and the bias' gradient: the
   * sum of dy's rows.
   */
  const backwardActivation = (i: number, penalty: number): void => {
    const { activation, bias, stateElements } = layers[i];
    const { y, dy, gradients, kept } = places[i];
    const size = run.batch * sizes[i];
    const own = stateElements === undefined ? penalty : 0;
    const columns = layers[i].output[layers[i].output.length - 1];
    const dbias = bias === undefined ? 0 : gradients[bias];
    if (activation === "relu") {
      if (dbias !== 0)
        return kernels.reluBackpropSumRows(y, dy, dy, dbias, size / columns, columns, own);
      kernels.reluBackprop(y, dy, dy, size, own);
    } else if (activation !== undefined)
      kernels.activationBackprop(activationNamed(activation).kind, kept, y, dy, dy, size, own);
    else if (own !== 0) kernels.axpy(dy, y, size, own);
    if (dbias !== 0) kernels.sumRows(dy, dbias, size / columns, columns);
  };

  /** yTangent <- f'(z) yTangent; z's tangent is kept where f is curved. */
  const activationTangent = (i: number): void => {
    const { activation } = layers[i];
    const { y, yTangent, kept, keptTangent } = places[i];
    if (activation === undefined) return;
    const size = run.batch * sizes[i];
    if (keptTangent !== 0) copy(run, yTangent, keptTangent, size);
    const { kind } = activationNamed(activation);
    kernels.activationBackprop(kind, kept, y, yTangent, yTangent, size, 0);
  };

  /** dyTangent <- f'(z) (dyTangent + penalty yTangent) + f''(z) zTangent (dy + penalty y). */
  const backwardActivationTangent = (i: number, penalty: number): void => {
    const { activation, stateElements } = layers[i];
    const { y, dy, yTangent, dyTangent, kept, keptTangent } = places[i];
    const size = run.batch * sizes[i];
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
  };

  const add = ({ additions }: Place, tangents: boolean): void => {
    for (const { from, to, tangent, size } of additions)
      if (tangent === tangents) kernels.axpy(to, from, run.batch * size, 1);
  };

  /** The backward pass from the output's gradient on; with its tangent where `curved`. */
  const backward = (penalty: Penalty, curved: boolean): void => {
    const coefficient = coefficients(penalty);
    for (let i = last; i >= 0; i--) {
      const layer = layers[i];
      const place = places[i];
      if (!place.learns) continue;
      if (curved) backwardActivationTangent(i, coefficient[i]);
      if (!place.merged) backwardActivation(i, coefficient[i]);
      const [source] = layer.sources;
      if (source >= 0 && places[source].merged) {
        const { bias = 0 } = layers[source];
        layer.backwardThroughRelu?.(
          run,
          place,
          places[source].gradients[bias],
          coefficient[source],
        );
      } else layer.backward(run, place, coefficient[i]);
      add(place, false);
      if (!curved) continue;
      layer.backwardTangent(run, place, coefficient[i]);
      const { bias, output } = layer;
      if (bias !== undefined) {
        const columns = output[output.length - 1];
        const rows = (run.batch * sizes[i]) / columns;
        kernels.sumRows(place.dyTangent, place.products[bias], rows, columns);
      }
      add(place, true);
    }
  };

  return {
    network,
    maxBatch,
    kernels,
    heap,
    bytes,
    taps,
    parameters: arrangement.parameters,
    gradient: arrangement.gradient,
    inputs: () => floats(run, arrangement.inputs, maxBatch * elements(network.input)),
    labels: () =>
      new Int32Array(heap.memory.buffer, arrangement.targets, maxBatch * loss.target.size),
    targets: () => floats(run, arrangement.targets, maxBatch * loss.target.size),
    scaleInputs(batch, factors, offsets) {
      const size = elements(network.input);
      floats(run, arrangement.factors, size).set(factors);
      floats(run, arrangement.offsets, size).set(offsets);
      for (let i = 0; i < batch; i++) {
        const at = arrangement.inputs + 4 * i * size;
        kernels.multiply(at, at, arrangement.factors, size);
        kernels.axpy(at, arrangement.offsets, size, 1);
      }
    },
    setWeights: (weights) => parameterView().set(weights),
    weights: () => parameterView().slice(),
    forward(batch) {
      forward(batch);
      return floats(run, lossCells.output, batch * outputSize);
    },
    evaluate(batch) {
      forward(batch);
      return measure(0);
    },
    lossAndGradient(batch, penalty, chance) {
      begin(batch, true, chance);
      const activationNorms: number[] = [];
      layers.forEach(({ tap }, i) => {
        const squares = forwardLayer(i, tap !== undefined);
        if (tap !== undefined) activationNorms.push(squares / (batch * tap.size));
      });
      const measured = measure(lossCells.gradient);
      if (penalty.includesLogits)
        activationNorms.push(
          kernels.squaredNorm(lossCells.output, batch * outputSize) / (batch * outputSize),
        );
      backward(penalty, false);
      return { ...measured, activationNorms };
    },
    direction: arrangement.direction,
    product: arrangement.product,
    hessianProduct(batch, penalty) {
      if (purpose !== "curvature")
        throw new RangeError(`"purpose" expected "curvature", got "${purpose}"`);
      begin(batch, true);
      for (let i = 0; i < layers.length; i++) {
        forwardLayer(i, false);
        if (!places[i].learns) continue;
        layers[i].forwardTangent(run, places[i]);
        activationTangent(i);
      }
      const { count } = measure(lossCells.gradient);
      const { yTangent, dyTangent } = places[last];
      loss.tangent(run, lossCells, count, yTangent, dyTangent);
      backward(penalty, true);
    },
    free: () => heap.free(base),
  };
}
