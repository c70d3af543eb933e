import { activationNamed } from "../models/layers/activations.js";
import type { Cells, Source } from "../models/layers/layer.js";
import type { Network, NetworkLayer } from "../models/network.js";
import { SCRATCH_BYTES } from "../wasm/kernels.js";
import { WINDOW_WORDS } from "../wasm/window.js";
import { elements } from "../tensors/shape.js";

/** What a plan is compiled for: each purpose needs more memory than the one before it. */
export type Purpose = "predict" | "train" | "curvature";

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
}

/** After a layer's backward pass: the tensor at `from`, of `size` floats an example, is added to `to`. */
interface Addition {
  readonly from: number;
  readonly to: number;
  readonly tangent: boolean;
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
  const { layers, layout, loss } = network;
  const count = layers.length;
  const learning = purpose !== "predict";
  const curvature = purpose === "curvature";
  const backwardAt = (layer: number) => 2 * count - 1 - layer;

  const readers: number[][] = layers.map(() => []);
  layers.forEach(({ sources }, i) => {
    for (const source of sources) if (source >= 0) readers[source].push(i);
  });
  const learns: boolean[] = [];
  layers.forEach(({ parameters, sources }, i) => {
    learns[i] = parameters.length > 0 || sources.some((source) => learns[source] ?? false);
  });
  const size = (i: number) => (i < 0 ? elements(network.input) : elements(layers[i].output));

  // What has to lie somewhere for some time.
  const intervals: Interval[] = [];
  const tensor = (words: number, first: number, last: number): Interval => {
    const one = { bytes: aligned(maxBatch * words), first, last };
    intervals.push(one);
    return one;
  };
  const until = (one: Interval, step: number): void => {
    one.last = Math.max(one.last, step);
  };
  const from = (one: Interval, step: number): void => {
    one.first = Math.min(one.first, step);
  };

  /** The layer whose tensor a layer's output is: itself, or the one before a mere reshaping. */
  const owner = (i: number): number =>
    i >= 0 && layers[i].sameElements ? owner(layers[i].sources[0]) : i;

  // Activations and their tangents.
  const forward = (wanted: boolean): (Interval | undefined)[] => {
    const all: (Interval | undefined)[] = [];
    layers.forEach(({ sources }, i) => {
      if (!wanted) return;
      const last = learning && learns[i] ? backwardAt(i) : i;
      const shared = owner(i);
      all[i] = shared === i ? tensor(size(i), i, last) : shared < 0 ? undefined : all[shared];
      if (all[i] !== undefined) until(all[i]!, last);
      for (const source of sources) {
        const read = source < 0 ? undefined : all[source];
        if (read !== undefined) until(read, last);
      }
    });
    const output = all[count - 1];
    if (output !== undefined) until(output, count);
    return all;
  };
  const y = forward(true);
  const yTangent = forward(curvature);

  const keeps = layers.map(
    ({ activation }) => activation !== undefined && activationNamed(activation).keeps,
  );
  const curved = layers.map(
    ({ activation }) =>
      activation !== undefined && activationNamed(activation).second !== undefined,
  );
  const kept = layers.map((_, i) =>
    keeps[i] && learning && learns[i] ? tensor(size(i), i, backwardAt(i)) : undefined,
  );
  const keptTangent = layers.map((_, i) =>
    curved[i] && curvature && learns[i] ? tensor(size(i), i, backwardAt(i)) : undefined,
  );
  const memory = layers.map(({ remembers }, i) =>
    remembers > 0 ? tensor(remembers, i, learning && learns[i] ? backwardAt(i) : i) : undefined,
  );
  const tangentMemory = layers.map(({ remembersTangents = 0 }, i) =>
    remembersTangents > 0 && curvature && learns[i]
      ? tensor(remembersTangents, i, backwardAt(i))
      : undefined,
  );

  // Gradients of activations: written by the last reader, needed until the own backward pass.
  const merged = layers.map(({ activation, tap, sameElements, fusesRelu, bias }, i) => {
    const [reader, ...others] = readers[i];
    return (
      purpose === "train" &&
      learns[i] &&
      activation === "relu" &&
      fusesRelu === true &&
      bias !== undefined &&
      !sameElements &&
      (tap === undefined || tap.size === size(i)) &&
      reader !== undefined &&
      others.length === 0 &&
      layers[reader].backwardThroughRelu !== undefined
    );
  });
  const gradients = (wanted: boolean, share: boolean): (Interval | undefined)[] => {
    const all: (Interval | undefined)[] = [];
    if (!wanted) return all;
    for (let i = count - 1; i >= 0; i--) {
      if (!learns[i]) continue;
      const first = i === count - 1 ? count : backwardAt(Math.max(...readers[i]));
      const [reader, ...others] = readers[i];
      const inPlace =
        reader !== undefined &&
        others.length === 0 &&
        (layers[reader].sameElements ||
          (share && layers[reader].gradientInPlace && !merged[reader] && isFirst(i, reader)));
      all[i] = inPlace
        ? all[reader]
        : share && merged[i]
          ? y[i]
          : tensor(size(i), first, backwardAt(i));
      if (all[i] !== undefined) {
        until(all[i]!, backwardAt(i));
        from(all[i]!, first);
      }
    }
    return all;
  };
  /** A layer that hands its gradient on in place does so to one of its inputs: the first that can. */
  const isFirst = (i: number, reader: number): boolean =>
    layers[reader].sources.find(
      (source) => source >= 0 && learns[source] && readers[source].length === 1,
    ) === i;
  const dy = gradients(learning, true);
  const dyTangent = gradients(curvature, false);

  // Inputs that several layers read: all but the last reader write beside, and it is added.
  const spare = layers.map(({ sources }, i) =>
    sources.map((source) =>
      learning && source >= 0 && learns[source] && Math.max(...readers[source]) !== i
        ? tensor(size(source), backwardAt(i), backwardAt(i))
        : undefined,
    ),
  );

  const offsets = new Map<Interval, number>();
  const packed = pack(intervals, offsets);

  let end = base;
  const take = (words: number): number => {
    const at = end;
    end += aligned(words);
    return at;
  };
  const parameters = take(layout.size);
  const gradient = learning ? take(layout.size) : 0;
  const inputs = take(maxBatch * elements(network.input));
  const targets = loss.target.kind === "input" ? inputs : take(maxBatch * loss.target.size);
  const constants = take(loss.constants.length);
  const factors = take(elements(network.input));
  const offsetsOfInputs = take(elements(network.input));
  const scratch = take(SCRATCH_BYTES / 4);
  const windows = layers.map(({ window }) => (window === undefined ? 0 : take(WINDOW_WORDS)));
  const direction = curvature ? take(layout.size) : 0;
  const product = curvature ? take(layout.size) : 0;
  const temporary = curvature
    ? take(
        Math.max(
          ...layers.map((_, i) => maxBatch * size(i)),
          maxBatch * elements(network.input),
          ...layout.parameters.map(({ size }) => size),
        ),
      )
    : 0;
  const start = end;
  end += packed;

  const address = (one: Interval | undefined): number =>
    one === undefined ? 0 : start + offsets.get(one)!;
  const at = (vector: number, layer: NetworkLayer) =>
    layer.places.map(({ offset }) => (vector === 0 ? 0 : vector + 4 * offset));

  const places = layers.map((layer, i): Place => {
    const additions: Addition[] = [];
    const sources = layer.sources.map((source, k): Source => {
      const wanted = source >= 0 && learning && learns[source];
      const beside = spare[i][k];
      const to = wanted ? address(dy[source]) : 0;
      const toTangent = wanted && curvature ? address(dyTangent[source]) : 0;
      const dx = beside === undefined ? to : address(beside);
      if (beside !== undefined)
        additions.push({ from: dx, to, tangent: false, size: size(source) });
      // The tangent goes the same way, when the gradient has been added.
      const dxTangent = beside === undefined ? toTangent : curvature ? dx : 0;
      if (beside !== undefined && curvature)
        additions.push({ from: dx, to: toTangent, tangent: true, size: size(source) });
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
      memory: address(memory[i]),
      tangentMemory: address(tangentMemory[i]),
      window: windows[i],
      parameters: at(parameters, layer),
      dy: address(dy[i]),
      gradients: at(gradient, layer),
      yTangent: curvature && learns[i] ? address(yTangent[i]) : 0,
      directions: at(direction, layer),
      dyTangent: address(dyTangent[i]),
      products: at(product, layer),
      learns: learning && learns[i],
      kept: address(kept[i]),
      keptTangent: address(keptTangent[i]),
      merged: merged[i],
      additions,
    };
  });
  return {
    parameters,
    gradient,
    inputs,
    targets,
    constants,
    factors,
    offsets: offsetsOfInputs,
    scratch,
    temporary,
    direction,
    product,
    layers: places,
    end,
  };
}

/** Bytes that `compile` takes from the heap. */
export function memoryNeeded(
  network: Network,
  maxBatch: number,
  purpose: Purpose = "train",
): number {
  return arrange(network, maxBatch, purpose, 0).end;
}
