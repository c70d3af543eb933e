import { floats, type Run, type Statistics } from "../models/layers/layer.js";
import type { Loss, LossCells } from "../models/losses/loss.js";
import type { Network } from "../models/network.js";
import { putShare, takeShare } from "../models/shares.js";
import type { Vector } from "../tensors/layout.js";
import type { Random } from "../tensors/random.js";
import { elements } from "../tensors/shape.js";
import type { Heap, Kernels } from "../wasm/kernels.js";
import { writeWindow } from "../wasm/window.js";
import { borderOf } from "./border.js";
import { arrange, memoryNeeded, type Purpose } from "./memory-plan.js";
import {
  backward,
  backwardTangent,
  forward,
  forwardTangent,
  penaltiesOf,
  stagesOf,
  type Penalty,
  type Stage,
} from "./passes.js";

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

/** The loss of a batch whose output is computed; its gradient is written where it is wanted. */
function measured(loss: Loss, run: Run, cells: LossCells): BatchResult {
  const count = loss.count(run, cells);
  return {
    loss: loss.mean(run, cells, count),
    count,
    correct: loss.hits?.(run, cells) ?? 0,
  };
}

/** The loss of each example of a batch by itself. */
const lossesOf = (loss: Loss, run: Run, cells: LossCells, batch: number, outputSize: number) =>
  Float32Array.from({ length: batch }, (_, i) => {
    const output = cells.output + 4 * i * outputSize;
    const target = cells.target + 4 * i * loss.target.size;
    return measured(loss, { ...run, batch: 1 }, { ...cells, output, target, gradient: 0 }).loss;
  });

/** The border of a network (border.ts). */
export interface Border {
  /** Whether passes begin behind it, with what lies there. */
  begins: boolean;
  /** What lies there of an example. */
  at(example: number): Float32Array;
  /** Computes that of the first example, from its input. */
  compute(): Float32Array;
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
  /**
   * Addresses of float32 vectors over what learns (`Shares.learning`); behind the parameters' lies
   * what does not. `gradient` is 0 in a plan that only predicts.
   */
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
  readonly border?: Border;
  /** Copies all weights in, and out. */
  setWeights(weights: Vector): void;
  weights(): Vector;
  /** The same of what training may move. */
  setMoving(weights: Vector): void;
  moving(): Vector;
  /** The output of the batch as a view [batch, ...output]; dropout is off. */
  forward(batch: number): Float32Array;
  /** The output of the last pass, [batch, ...output]. */
  outputs(batch: number): Float32Array;
  /** The loss of each example by itself, of the last pass. */
  errors(batch: number): Float32Array;
  /** Loss and hits of the batch; dropout is off. */
  evaluate(batch: number): BatchResult;
  /**
   * Objective and its gradient with respect to what learns, into `gradient`, at the weights that
   * lie at address `parameters`. `chance` is what dropout draws from, `statistics` what batchNorm
   * normalises by: the running values unless given.
   */
  lossAndGradient(
    batch: number,
    penalty: Penalty,
    chance: Random,
    statistics?: Statistics,
  ): ObjectiveResult;
  /**
   * The direction of `hessianProduct`, and what it writes: float32 vectors over what learns; 0
   * unless for curvature. Behind the direction's are zeros, for what does not learn.
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

/** What a pass draws from, and what it normalises by. */
type PassOptions = Pick<Run, "statistics"> & { readonly random: Random | undefined };

/** Nothing is dropped, and nothing measured. */
const PREDICTING: PassOptions = { random: undefined, statistics: "running" };

/** A network's weights at an address: those that learn, then the others. */
function weightsAt(
  run: Run,
  address: number,
  { layout, shares: { learning, frozen, moving } }: Network,
): Pick<Plan, "setWeights" | "weights" | "setMoving" | "moving"> {
  const { size } = learning.layout;
  const learned = () => floats(run, address, size);
  const others = () => floats(run, address + 4 * size, layout.size - size);
  return {
    setWeights(weights) {
      learned().set(takeShare(learning, weights));
      others().set(takeShare(frozen, weights));
    },
    weights() {
      const weights = new Float32Array(layout.size);
      putShare(learning, learned(), weights);
      putShare(frozen, others(), weights);
      return weights;
    },
    setMoving: (weights) => floats(run, address, moving.layout.size).set(weights),
    moving: () => floats(run, address, moving.layout.size).slice(),
  };
}

/** The border, where layers stand before it, and the stages that a pass runs. */
function cutAt(
  count: number,
  stages: readonly Stage[],
  run: Run,
): { readonly border?: Border; readonly begun: () => readonly Stage[] } {
  if (count === 0) return { begun: () => stages };
  const behind = stages.slice(count);
  const { place, size } = stages[count - 1];
  const border: Border = {
    begins: false,
    at: (example) => floats(run, place.y + 4 * size * example, size),
    compute() {
      run.batch = 1;
      run.remember = false;
      for (const stage of stages.slice(0, count)) forward(run, stage, false);
      return border.at(0);
    },
  };
  return { border, begun: () => (border.begins ? behind : stages) };
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
    discard: arrangement.discard,
    batch: 0,
    remember: false,
    statistics: "running",
  };
  const stages = stagesOf(layers, places);
  const { border, begun } = cutAt(borderOf(network), stages, run);
  for (const { layer, place } of stages)
    if (layer.window !== undefined) writeWindow(heap.memory, place.window, layer.window);
  const outputSize = elements(network.output);
  if (purpose === "curvature") floats(run, arrangement.direction, layout.size).fill(0);
  const { targets: target, constants } = arrangement;
  const { y: output, dy: gradient } = places[last];
  const lossCells: LossCells = { output, target, constants, gradient };
  floats(run, constants, loss.constants.length).set(loss.constants);

  const begin = (batch: number, remember: boolean, how: PassOptions = PREDICTING): void => {
    if (!(batch >= 1 && batch <= maxBatch))
      throw new RangeError(`"batch" expected 1 to ${maxBatch}, got ${batch}`);
    if (remember && purpose === "predict")
      throw new RangeError(`"purpose" expected "train", got "predict"`);
    run.batch = batch;
    run.remember = remember;
    Object.assign(run, how);
  };
  const predict = (batch: number): void => {
    begin(batch, false);
    for (const stage of begun()) forward(run, stage, false);
  };
  const measure = (gradient: number) => measured(loss, run, { ...lossCells, gradient });

  return {
    network,
    maxBatch,
    kernels,
    heap,
    bytes,
    taps: layers.flatMap(({ tap }) => (tap === undefined ? [] : [tap.name])),
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
    border,
    ...weightsAt(run, arrangement.parameters, network),
    forward(batch) {
      predict(batch);
      return floats(run, lossCells.output, batch * outputSize);
    },
    errors: (batch) => lossesOf(loss, run, lossCells, batch, outputSize),
    outputs: (batch) => floats(run, lossCells.output, batch * outputSize),
    evaluate(batch) {
      predict(batch);
      return measure(0);
    },
    lossAndGradient(batch, penalty, random, statistics = "running") {
      begin(batch, true, { random, statistics });
      const activationNorms: number[] = [];
      for (const stage of begun()) {
        const { tap } = stage.layer;
        const squares = forward(run, stage, tap !== undefined);
        if (tap !== undefined) activationNorms.push(squares / (batch * tap.size));
      }
      const measured = measure(lossCells.gradient);
      if (penalty.includesLogits)
        activationNorms.push(
          kernels.squaredNorm(lossCells.output, batch * outputSize) / (batch * outputSize),
        );
      backward(run, stages, penaltiesOf(run, stages, penalty));
      return { ...measured, activationNorms };
    },
    direction: arrangement.direction,
    product: arrangement.product,
    hessianProduct(batch, penalty) {
      if (purpose !== "curvature")
        throw new RangeError(`"purpose" expected "curvature", got "${purpose}"`);
      begin(batch, true);
      for (const stage of begun()) {
        forward(run, stage, false);
        if (stage.place.learns) forwardTangent(run, stage);
      }
      const { count } = measure(lossCells.gradient);
      const { yTangent, dyTangent } = places[last];
      loss.tangent(run, lossCells, count, yTangent, dyTangent);
      backwardTangent(run, stages, penaltiesOf(run, stages, penalty));
    },
    free: () => heap.free(base),
  };
}
