import { elements, type Cells, type Run } from "../models/layers/layer.js";
import type { Network } from "../models/network.js";
import type { Vector } from "../tensors/layout.js";
import type { Random } from "../tensors/random.js";
import type { Heap, Kernels } from "../wasm/kernels.js";
import { writeWindow } from "../wasm/window.js";
import { arrange, memoryNeeded, type Purpose } from "./memory-plan.js";

/** What one batch measured. */
export interface BatchResult {
  /** Mean over the batch, natural logarithm, without MAN. */
  readonly crossEntropy: number;
  /** Examples whose largest logit is at the label. */
  readonly correct: number;
}

export interface ObjectiveResult extends BatchResult {
  /** A_l of each tap (`Plan.taps`), mean over batch and elements of a^2. */
  readonly activationNorms: readonly number[];
}

/**
 * MAN's part of the objective F = cross-entropy + (zeta/2) sum_l A_l (Yashwanth et al., WACV 2024,
 * arXiv:2512.08314).
 */
export interface Penalty {
  readonly zeta: number;
  /** Count the logits among the penalised layers. */
  readonly includesLogits: boolean;
}

/**
 * A network compiled for one heap and a largest batch: every buffer allocated once, every pass a
 * fixed list of kernel calls. The caller puts examples into `inputs()` and classes into `labels()`,
 * then runs a pass over the first `batch` of them. Views are valid until something is allocated on
 * the heap, so ask for them anew.
 */
export interface Plan {
  readonly network: Network;
  readonly maxBatch: number;
  readonly kernels: Kernels;
  readonly heap: Heap;
  /** Bytes that the plan holds. */
  readonly bytes: number;
  /**
   * Names of the activations whose norms are measured: `${layer index}.${type}`, in layer order;
   * the logits' norm comes behind them where the penalty includes it.
   */
  readonly taps: readonly string[];
  /** Addresses of float32 vectors over the layout; `gradient` is 0 in a plan that only predicts. */
  readonly parameters: number;
  readonly gradient: number;
  /** Normalised examples, [maxBatch, ...input]. */
  inputs(): Float32Array;
  /** Classes, [maxBatch]. */
  labels(): Int32Array;
  /**
   * x <- factors x + offsets, element by element of each of the first `batch` inputs; the vectors
   * have one example's size.
   */
  scaleInputs(batch: number, factors: Float32Array, offsets: Float32Array): void;
  /** Copies weights in, and out. */
  setWeights(weights: Vector): void;
  weights(): Vector;
  /** The logits of the batch as a view [batch, classes]; dropout is off. */
  forward(batch: number): Float32Array;
  /** Cross-entropy and hits of the batch; dropout is off. */
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
  const places = arrange(network, maxBatch, purpose, base);
  const { layers, layout, classes } = network;
  const { cells, logits, labels } = places;
  layers.forEach(({ window }, i) => {
    if (window !== undefined) writeWindow(heap.memory, cells[i].window, window);
  });
  const run: Run = {
    kernels,
    memory: heap.memory,
    scratch: places.scratch,
    temporary: places.temporary,
    batch: 0,
    remember: false,
  };
  const last = layers.length - 1;
  const sizes = layers.map(({ output }) => elements(output));
  const taps = layers.flatMap(({ rectified }, i) => (rectified ? [i] : []));
  const parameterView = () => new Float32Array(heap.memory.buffer, places.parameters, layout.size);

  const begin = (batch: number, remember: boolean, chance?: Random): void => {
    if (!(batch >= 1 && batch <= maxBatch))
      throw new RangeError(`"batch" expected 1 to ${maxBatch}, got ${batch}`);
    if (remember && purpose === "predict")
      throw new RangeError(`"purpose" expected "train", got "predict"`);
    run.batch = batch;
    run.remember = remember;
    run.random = chance;
  };
  const forward = (batch: number): void => {
    begin(batch, false);
    for (let i = 0; i < layers.length; i++) layers[i].forward(run, cells[i], false);
  };

  /** The backward pass from dlogits on; `after` is called when a layer's own is done. */
  const backward = (
    batch: number,
    { zeta, includesLogits }: Penalty,
    after?: (layer: number, coefficient: number) => void,
  ): void => {
    const { firstLearning, merged } = places;
    const coefficient = (i: number) =>
      layers[i].rectified || (includesLogits && i === last) ? zeta / (batch * sizes[i]) : 0;
    for (let i = last; i >= firstLearning; i--) {
      const layer = layers[i];
      if (!merged[i]) layer.backwardActivation?.(run, cells[i], coefficient(i));
      if (i > 0 && merged[i - 1]) {
        const bias = cells[i - 1].gradients[1];
        layer.backwardThroughRelu?.(run, cells[i], bias, coefficient(i - 1));
      } else layer.backward(run, cells[i]);
      after?.(i, coefficient(i));
    }
  };

  return {
    network,
    maxBatch,
    kernels,
    heap,
    bytes,
    taps: taps.map((i) => `${layers[i].index}.${layers[i].type}`),
    parameters: places.parameters,
    gradient: places.gradient,
    inputs: () =>
      new Float32Array(heap.memory.buffer, places.inputs, maxBatch * elements(network.input)),
    labels: () => new Int32Array(heap.memory.buffer, labels, maxBatch),
    scaleInputs(batch, factors, offsets) {
      const size = elements(network.input);
      const view = (address: number) => new Float32Array(heap.memory.buffer, address, size);
      view(places.factors).set(factors);
      view(places.offsets).set(offsets);
      for (let i = 0; i < batch; i++) {
        const at = places.inputs + 4 * i * size;
        kernels.multiply(at, at, places.factors, size);
        kernels.axpy(at, places.offsets, size, 1);
      }
    },
    setWeights: (weights) => parameterView().set(weights),
    weights: () => parameterView().slice(),
    forward(batch) {
      forward(batch);
      return new Float32Array(heap.memory.buffer, logits, batch * classes);
    },
    evaluate(batch) {
      forward(batch);
      return {
        crossEntropy: kernels.softmaxCrossEntropy(logits, labels, 0, 0, batch, classes, 1) / batch,
        correct: kernels.countCorrect(logits, labels, batch, classes),
      };
    },
    lossAndGradient(batch, penalty, chance) {
      begin(batch, true, chance);
      const activationNorms: number[] = [];
      for (let i = 0; i < layers.length; i++) {
        const squares = layers[i].forward(run, cells[i], layers[i].rectified);
        if (layers[i].rectified) activationNorms.push(squares / (batch * sizes[i]));
      }
      const loss = kernels.softmaxCrossEntropy(
        logits,
        labels,
        places.logitsGradient,
        0,
        batch,
        classes,
        1 / batch,
      );
      const correct = kernels.countCorrect(logits, labels, batch, classes);
      if (penalty.includesLogits)
        activationNorms.push(kernels.squaredNorm(logits, batch * classes) / (batch * classes));
      backward(batch, penalty);
      return { crossEntropy: loss / batch, correct, activationNorms };
    },
    direction: places.direction,
    product: places.product,
    hessianProduct(batch, penalty) {
      if (purpose !== "curvature")
        throw new RangeError(`"purpose" expected "curvature", got "${purpose}"`);
      begin(batch, true);
      const { firstLearning, probabilities, logitsGradient } = places;
      for (let i = 0; i < layers.length; i++) {
        layers[i].forward(run, cells[i], false);
        if (i >= firstLearning) layers[i].forwardTangent(run, cells[i]);
      }
      kernels.softmaxCrossEntropy(
        logits,
        labels,
        logitsGradient,
        probabilities,
        batch,
        classes,
        1 / batch,
      );
      softmaxTangent(heap.memory, cells[last], probabilities, batch, classes);
      backward(batch, penalty, (i, coefficient) =>
        layers[i].backwardTangent(run, cells[i], coefficient),
      );
    },
    free: () => heap.free(base),
  };
}

/**
 * dlogits' = p (l' - sum p l') / batch, row by row: the derivative of softmax(l) - onehot along l'.
 */
function softmaxTangent(
  memory: WebAssembly.Memory,
  { yTangent, dyTangent }: Cells,
  probabilities: number,
  batch: number,
  classes: number,
): void {
  const view = (address: number) => new Float32Array(memory.buffer, address, batch * classes);
  const p = view(probabilities);
  const along = view(yTangent);
  const out = view(dyTangent);
  for (let row = 0; row < batch * classes; row += classes) {
    let mean = 0;
    for (let i = row; i < row + classes; i++) mean += p[i] * along[i];
    for (let i = row; i < row + classes; i++) out[i] = (p[i] * (along[i] - mean)) / batch;
  }
}
