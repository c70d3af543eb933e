import { elements, type Cells } from "../models/layers/layer.js";
import type { Network, NetworkLayer } from "../models/network.js";
import { SCRATCH_BYTES } from "../wasm/kernels.js";
import { WINDOW_WORDS } from "../wasm/window.js";

/** What a plan is compiled for: each purpose needs more memory than the one before it. */
export type Purpose = "predict" | "train" | "curvature";

/** Where everything lies, from `base` on. */
export interface Arrangement {
  readonly parameters: number;
  readonly gradient: number;
  readonly inputs: number;
  readonly labels: number;
  /** Two vectors of one example's size. */
  readonly factors: number;
  readonly offsets: number;
  readonly scratch: number;
  readonly temporary: number;
  readonly logits: number;
  readonly logitsGradient: number;
  readonly probabilities: number;
  readonly direction: number;
  readonly product: number;
  readonly cells: readonly Cells[];
  /**
   * Layers whose activation's backward pass is done by the layer behind, in the activation's place.
   */
  readonly merged: readonly boolean[];
  /** Layers before this one have nothing to learn. */
  readonly firstLearning: number;
  readonly end: number;
}

/** Largest alignment that a kernel asks for, in bytes. */
const ALIGNMENT = 16;

/**
 * Lays the buffers end to end. Activations that the backward pass needs have a place each;
 * gradients of activations, and activations of a plan that only predicts, take turns in two places,
 * for each is needed by its neighbour only.
 */
export function arrange(
  network: Network,
  maxBatch: number,
  purpose: Purpose,
  base: number,
): Arrangement {
  let end = base;
  const take = (words: number): number => {
    const at = end;
    end += Math.ceil((words * 4) / ALIGNMENT) * ALIGNMENT;
    return at;
  };
  const { layers, layout } = network;
  const learns = purpose !== "predict";
  const firstLearning = layers.findIndex((l) => l.parameters.length > 0);
  const largest = (sizes: readonly number[]) => Math.max(0, ...sizes);
  const outputs = layers.map(({ output }) => maxBatch * elements(output));
  // The tangent passes still need the activation whose place its gradient would take.
  const merged = layers.map(
    ({ rectified, inPlace }, i) =>
      purpose === "train" &&
      i >= firstLearning &&
      rectified &&
      !inPlace.forward &&
      layers[i + 1].backwardThroughRelu !== undefined,
  );

  const parameters = take(layout.size);
  const gradient = learns ? take(layout.size) : 0;
  const inputs = take(maxBatch * elements(network.input));
  const labels = take(maxBatch);
  const factors = take(elements(network.input));
  const offsets = take(elements(network.input));
  const scratch = take(SCRATCH_BYTES / 4);

  /**
   * Which of two turns each layer's output takes, where layers that work in place keep their
   * input's.
   */
  const turnsOf = (pass: "forward" | "backward") => {
    let turn = 0;
    return layers.map(({ inPlace }) => (turn = inPlace[pass] ? turn : 1 - turn));
  };
  /** Addresses of two buffers that the outputs, but those left out, share in turn. */
  const alternate = (turns: readonly number[], leftOut: readonly boolean[] = []): number[] => {
    const sides = [0, 1].map((side) =>
      take(largest(outputs.filter((_, i) => turns[i] === side && !leftOut[i]))),
    );
    return turns.map((turn) => sides[turn]);
  };
  const chain = (first: number): number[] => {
    let at = first;
    return layers.map(({ inPlace }, i) => (at = inPlace.forward ? at : take(outputs[i])));
  };

  const y = learns ? chain(inputs) : alternate(turnsOf("forward"));
  // A layer that works on the network's input in place finds it there.
  if (!learns) for (let i = 0; i < layers.length && layers[i].inPlace.forward; i++) y[i] = inputs;
  const memory = layers.map(({ remembers }) => (remembers > 0 ? take(maxBatch * remembers) : 0));
  const windows = layers.map(({ window }) => (window === undefined ? 0 : take(WINDOW_WORDS)));
  const nowhere = layers.map(() => 0);
  const dy = learns
    ? alternate(turnsOf("backward"), merged).map((at, i) => (merged[i] ? y[i] : at))
    : nowhere;
  const curvature = purpose === "curvature";
  const yTangent = curvature ? chain(0) : nowhere;
  const dyTangent = curvature ? alternate(turnsOf("backward")) : nowhere;
  const direction = curvature ? take(layout.size) : 0;
  const product = curvature ? take(layout.size) : 0;
  const probabilities = curvature ? take(outputs[layers.length - 1]) : 0;
  const temporary = curvature
    ? take(
        largest([
          ...outputs,
          maxBatch * elements(network.input),
          ...layout.parameters.map(({ size }) => size),
        ]),
      )
    : 0;

  const at = (vector: number, layer: NetworkLayer) =>
    layer.places.map(({ offset }) => vector + 4 * offset);
  const cells = layers.map((layer, i): Cells => {
    const before = i > firstLearning;
    return {
      x: i === 0 ? inputs : y[i - 1],
      y: y[i],
      memory: memory[i],
      window: windows[i],
      parameters: at(parameters, layer),
      dy: dy[i],
      dx: before ? dy[i - 1] : 0,
      gradients: at(gradient, layer),
      xTangent: before ? yTangent[i - 1] : 0,
      yTangent: yTangent[i],
      directions: at(direction, layer),
      dyTangent: dyTangent[i],
      dxTangent: before ? dyTangent[i - 1] : 0,
      products: at(product, layer),
    };
  });
  const last = layers.length - 1;
  return {
    parameters,
    gradient,
    inputs,
    labels,
    factors,
    offsets,
    scratch,
    temporary,
    logits: y[last],
    logitsGradient: dy[last],
    probabilities,
    direction,
    product,
    cells,
    merged,
    firstLearning,
    end,
  };
}

/**
 * Bytes that `compile` will take from the heap, to be checked against a device's limits before
 * training.
 */
export const memoryNeeded = (
  network: Network,
  maxBatch: number,
  purpose: Purpose = "train",
): number => arrange(network, maxBatch, purpose, 0).end;
