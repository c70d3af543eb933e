import { activationNamed, type Activation } from "../models/layers/activations.js";
import type { Cells, Source } from "../models/layers/layer.js";
import type { Network, NetworkLayer } from "../models/network.js";
import { SCRATCH_BYTES } from "../wasm/kernels.js";
import { WINDOW_WORDS } from "../wasm/window.js";
import type { Parameter } from "../tensors/layout.js";
import { elements } from "../tensors/shape.js";
import { borderOf } from "./border.js";

/** What a plan is compiled for: each purpose needs more memory than the one before it. */
export type Purpose = "predict" | "train" | "curvature";

/** There are tangent passes: never on a device, whose bundle goes without (bundle.mjs). */
const hasTangents = (purpose: Purpose) => purpose === "curvature";

/** A layer's cells, and what the plan does around its passes. */
export interface Place extends Cells {
  /** Something in or before it learns: it has a backward pass. */
  readonly learns: boolean;
  /** z, kept where the activation's derivative does not follow from y; else 0. */
  readonly kept: number;
  /** z's tangent, kept where the activation is curved; else 0. */
  readonly keptTangent: number;
  /** The layer behind does the ReLU's backward pass too, in the activation's place. */
  readonly merged: boolean;
  /** Gradients of inputs that others have written already: what is added where. */
  readonly additions: readonly Addition[];
  readonly tangentAdditions: readonly Addition[];
}

/** After a layer's backward pass: the tensor at `from`, of `size` floats an example, is added to `to`. */
interface Addition {
  readonly from: number;
  readonly to: number;
  readonly size: number;
}

/** Where everything lies, from `base` on. */
interface Arrangement {
  readonly parameters: number;
  readonly gradient: number;
  readonly inputs: number;
  readonly targets: number;
  readonly constants: number;
  /** Two vectors of one example's size. */
  readonly factors: number;
  readonly offsets: number;
  readonly scratch: number;
  readonly temporary: number;
  readonly discard: number;
  readonly direction: number;
  readonly product: number;
  readonly layers: readonly Place[];
  readonly end: number;
}

/** Largest alignment that a kernel asks for, in bytes. */
const ALIGNMENT = 16;

const aligned = (words: number) => Math.ceil((words * 4) / ALIGNMENT) * ALIGNMENT;

/** A tensor that is needed from one step of the plan to another, both included. */
interface Interval {
  readonly bytes: number;
  first: number;
  last: number;
}

/**
 * Offsets for tensors such that no two that are needed at the same time overlap: the largest first,
 * each at the lowest place that is free while it is needed. Returns how many bytes they take.
 */
function pack(intervals: readonly Interval[], offsets: Map<Interval, number>): number {
  let total = 0;
  const placed: Interval[] = [];
  for (const one of [...intervals].sort((a, b) => b.bytes - a.bytes)) {
    const busy = placed
      .filter((other) => other.first <= one.last && one.first <= other.last)
      .map((other) => ({ from: offsets.get(other)!, to: offsets.get(other)! + other.bytes }))
      .sort((a, b) => a.from - b.from);
    let at = 0;
    for (const { from, to } of busy) if (from < at + one.bytes && to > at) at = Math.max(at, to);
    offsets.set(one, at);
    placed.push(one);
    total = Math.max(total, at + one.bytes);
  }
  return total;
}

/** What of a network decides how long its tensors are needed. */
interface Outline {
  readonly layers: readonly NetworkLayer[];
  readonly purpose: Purpose;
  /** There are backward passes. */
  readonly learning: boolean;
  /** The layers that read each layer. */
  readonly readers: readonly (readonly number[])[];
  /** Whether something in or before each layer learns, so that it has a backward pass. */
  readonly learns: readonly boolean[];
  /** Floats of an example of a layer's output; of the input for -1. */
  size(layer: number): number;
  /** The layer whose tensor a layer's output is: itself, or the one before a mere reshaping. */
  owner(layer: number): number;
  /** How many layers stand before the border. */
  readonly border: number;
  /** The step of the plan at which a layer is gone through backwards. */
  backwardAt(layer: number): number;
  /** A tensor of so many floats an example that is needed from one step to another. */
  tensor(words: number, first: number, last: number): Interval;
}

/** The outline of a network, and the list that its `tensor` writes. */
function outlineOf(
  network: Network,
  maxBatch: number,
  purpose: Purpose,
): Outline & { readonly intervals: readonly Interval[] } {
  const { layers, input } = network;
  const readers: number[][] = layers.map(() => []);
  layers.forEach(({ sources }, i) => {
    for (const source of sources) if (source >= 0) readers[source].push(i);
  });
  const intervals: Interval[] = [];
  const owner = (i: number): number =>
    i >= 0 && layers[i].sameElements ? owner(layers[i].sources[0]) : i;
  return {
    layers,
    purpose,
    learning: purpose !== "predict",
    readers,
    learns: layers.map(({ learns }) => learns),
    size: (i) => elements(i < 0 ? input : layers[i].output),
    owner,
    border: borderOf(network),
    backwardAt: (layer) => 2 * layers.length - 1 - layer,
    intervals,
    tensor(words, first, last) {
      const one = { bytes: aligned(maxBatch * words), first, last };
      intervals.push(one);
      return one;
    },
  };
}

/** A tensor of each layer, where it has one. */
type Tensors = readonly (Interval | undefined)[];

const until = (one: Interval | undefined, step: number): void => {
  if (one !== undefined) one.last = Math.max(one.last, step);
};

/** Activations, or their tangents: needed by all readers, and until the layer's own backward pass. */
function activationsOf(outline: Outline): Tensors {
  const { layers, learning, learns, owner, border, size, backwardAt } = outline;
  const all: (Interval | undefined)[] = [];
  layers.forEach(({ sources }, i) => {
    const last = learning && learns[i] ? backwardAt(i) : i;
    const shared = owner(i);
    all[i] = shared === i ? outline.tensor(size(i), i, last) : shared < 0 ? undefined : all[shared];
    until(all[i], last);
    for (const source of sources) if (source >= 0) until(all[source], last);
  });
  until(all[layers.length - 1], layers.length);
  // Features lie there from before the first pass to behind the last.
  const features = all[border - 1];
  if (features !== undefined) Object.assign(features, { first: 0, last: 2 * layers.length });
  return all;
}

/** What each layer, and the plan beside it, keeps from forward to backward. */
function keptOf(
  outline: Outline,
): Record<"kept" | "keptTangent" | "memory" | "tangentMemory", Tensors> {
  const { layers, learning, purpose, learns, size, backwardAt } = outline;
  const curvature = hasTangents(purpose);
  const keep = (words: (layer: NetworkLayer, i: number) => number, wanted: boolean): Tensors =>
    layers.map((layer, i) => {
      const count = wanted && learns[i] ? words(layer, i) : 0;
      return count > 0 ? outline.tensor(count, i, backwardAt(i)) : undefined;
    });
  const named = ({ activation }: NetworkLayer): Activation | undefined =>
    activation === undefined ? undefined : activationNamed(activation);
  return {
    kept: keep((layer, i) => (named(layer)?.keeps ? size(i) : 0), learning),
    keptTangent: keep((layer, i) => (named(layer)?.second ? size(i) : 0), curvature),
    memory: layers.map(({ remembers = 0 }, i) =>
      remembers > 0
        ? outline.tensor(remembers, i, learning && learns[i] ? backwardAt(i) : i)
        : undefined,
    ),
    tangentMemory: keep(({ remembersTangents = 0 }) => remembersTangents, curvature),
  };
}

/** Which layers leave their ReLU's backward pass to the one behind them. */
function mergedOf({ layers, purpose, readers, learns, size }: Outline): readonly boolean[] {
  return layers.map(({ activation, tap, sameElements, fusesRelu, bias, learned }, i) => {
    const [reader, ...others] = readers[i];
    return (
      purpose === "train" &&
      learns[i] &&
      activation === "relu" &&
      fusesRelu === true &&
      bias !== undefined &&
      learned[bias] &&
      !sameElements &&
      (tap === undefined || tap.size === size(i)) &&
      reader !== undefined &&
      others.length === 0 &&
      layers[reader].backwardThroughRelu !== undefined
    );
  });
}

/**
 * Gradients of activations: written by the last reader, needed until the layer's own backward pass.
 * @param y the activations, where a gradient may take another tensor's place
 */
function gradientsOf(outline: Outline, merged: readonly boolean[], y?: Tensors): Tensors {
  const { layers, readers, learns, size, backwardAt } = outline;
  const count = layers.length;
  /** A layer that hands its gradient on in place does so to one of its inputs: the first that can. */
  const isFirst = (i: number, reader: number): boolean =>
    layers[reader].sources.find(
      (source) => source >= 0 && learns[source] && readers[source].length === 1,
    ) === i;
  const all: (Interval | undefined)[] = [];
  for (let i = count - 1; i >= 0; i--) {
    if (!learns[i]) continue;
    const first = i === count - 1 ? count : backwardAt(Math.max(...readers[i]));
    const [reader, ...others] = readers[i];
    const inPlace =
      reader !== undefined &&
      others.length === 0 &&
      (layers[reader].sameElements ||
        (y !== undefined &&
          layers[reader].gradientInPlace &&
          !merged[reader] &&
          isFirst(i, reader)));
    const one = inPlace
      ? all[reader]
      : y !== undefined && merged[i]
        ? y[i]
        : outline.tensor(size(i), first, backwardAt(i));
    all[i] = one;
    until(one, backwardAt(i));
    if (one !== undefined) one.first = Math.min(one.first, first);
  }
  return all;
}

/** Inputs that several layers read: all but the last reader write beside, and it is added. */
const sparesOf = (outline: Outline): readonly Tensors[] =>
  outline.layers.map(({ sources }, i) =>
    sources.map((source) => {
      const { learning, learns, readers, size, backwardAt } = outline;
      return learning && source >= 0 && learns[source] && Math.max(...readers[source]) !== i
        ? outline.tensor(size(source), backwardAt(i), backwardAt(i))
        : undefined;
    }),
  );

/** The vectors and tensors that are needed at every step, one behind the other from `base` on. */
function takeLasting(
  { layers, input, layout, loss, shares: { learning: learned } }: Network,
  maxBatch: number,
  purpose: Purpose,
  base: number,
) {
  let end = base;
  const take = (words: number): number => {
    const at = end;
    end += aligned(words);
    return at;
  };
  const learning = purpose !== "predict";
  const curvature = hasTangents(purpose);
  const example = elements(input);
  const parameters = take(layout.size);
  const gradient = learning ? take(learned.layout.size) : 0;
  const inputs = take(maxBatch * example);
  const largest = () =>
    Math.max(
      maxBatch * example,
      ...layers.map(({ output }) => maxBatch * elements(output)),
      ...layout.parameters.map(({ size }) => size),
    );
  const discarded = layers.flatMap(({ learns, learned, places }) =>
    places.flatMap(({ size }, i) => (learning && learns && !learned[i] ? [size] : [])),
  );
  return {
    parameters,
    gradient,
    inputs,
    targets: loss.target.kind === "input" ? inputs : take(maxBatch * loss.target.size),
    constants: take(loss.constants.length),
    factors: take(example),
    offsets: take(example),
    scratch: take(SCRATCH_BYTES / 4),
    windows: layers.map(({ window }) => (window === undefined ? 0 : take(WINDOW_WORDS))),
    direction: curvature ? take(layout.size) : 0,
    product: curvature ? take(layout.size) : 0,
    temporary: curvature ? take(largest()) : 0,
    discard: take(Math.max(0, ...discarded)),
    end,
  };
}

/**
 * Where a parameter lies in the plan's vectors: those that learn first, in the order of their share,
 * so that the gradient and the step know nothing of the others.
 */
function planned({ shares: { learning, frozen } }: Network): (place: Parameter) => number {
  const offsets = new Map<string, number>();
  for (const { name, offset } of learning.layout.parameters) offsets.set(name, offset);
  for (const { name, offset } of frozen.layout.parameters)
    offsets.set(name, learning.layout.size + offset);
  return ({ name }) => offsets.get(name)!;
}

/**
 * Gives every tensor of a network its place. The plan's steps are the layers forward, then, where it
 * learns, the layers backward; a tensor's memory is used again by others before it is written and
 * after it was read for the last time. Activations are kept until their own layer's backward pass.
 */
export function arrange(
  network: Network,
  maxBatch: number,
  purpose: Purpose,
  base: number,
): Arrangement {
  const outline = outlineOf(network, maxBatch, purpose);
  const { layers, learning, learns, owner, size } = outline;
  const curvature = hasTangents(purpose);
  const y = activationsOf(outline);
  const yTangent = curvature ? activationsOf(outline) : [];
  const kept = keptOf(outline);
  const merged = mergedOf(outline);
  const dy = learning ? gradientsOf(outline, merged, y) : [];
  const dyTangent = curvature ? gradientsOf(outline, merged) : [];
  const spare = sparesOf(outline);

  const offsets = new Map<Interval, number>();
  const packed = pack(outline.intervals, offsets);
  const { windows, end: start, ...lasting } = takeLasting(network, maxBatch, purpose, base);
  const { parameters, gradient, direction, product, inputs } = lasting;
  const address = (one: Interval | undefined): number =>
    one === undefined ? 0 : start + offsets.get(one)!;
  const offsetOf = planned(network);
  const at = (vector: number, layer: NetworkLayer) =>
    layer.places.map((place) => (vector === 0 ? 0 : vector + 4 * offsetOf(place)));

  const places = layers.map((layer, i): Place => {
    const additions: Addition[] = [];
    const tangentAdditions: Addition[] = [];
    const sources = layer.sources.map((source, k): Source => {
      const wanted = source >= 0 && learning && learns[source];
      const beside = spare[i][k];
      const to = wanted ? address(dy[source]) : 0;
      const toTangent = wanted && curvature ? address(dyTangent[source]) : 0;
      const dx = beside === undefined ? to : address(beside);
      if (beside !== undefined) additions.push({ from: dx, to, size: size(source) });
      // The tangent goes the same way, when the gradient has been added.
      const dxTangent = beside === undefined ? toTangent : curvature ? dx : 0;
      if (beside !== undefined && curvature)
        tangentAdditions.push({ from: dx, to: toTangent, size: size(source) });
      return {
        x: source < 0 || owner(source) < 0 ? inputs : address(y[source]),
        dx,
        xTangent: wanted && curvature ? address(yTangent[source]) : 0,
        dxTangent,
      };
    });
    return {
      ...sources[0],
      sources,
      y: owner(i) < 0 ? inputs : address(y[i]),
      memory: address(kept.memory[i]),
      tangentMemory: address(kept.tangentMemory[i]),
      window: windows[i],
      parameters: at(parameters, layer),
      dy: address(dy[i]),
      gradients: at(gradient, layer).map((address, k) => (layer.learned[k] ? address : 0)),
      yTangent: curvature && learns[i] ? address(yTangent[i]) : 0,
      directions: at(direction, layer),
      dyTangent: address(dyTangent[i]),
      products: at(product, layer),
      learns: learning && learns[i],
      kept: address(kept.kept[i]),
      keptTangent: address(kept.keptTangent[i]),
      merged: merged[i],
      additions,
      tangentAdditions,
    };
  });
  return { ...lasting, layers: places, end: start + packed };
}

/** Bytes that `compile` takes from the heap. */
export function memoryNeeded(
  network: Network,
  maxBatch: number,
  purpose: Purpose = "train",
): number {
  return arrange(network, maxBatch, purpose, 0).end;
}
