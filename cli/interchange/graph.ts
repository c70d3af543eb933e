import type * as v from "valibot";
import { ModelError } from "../../runtime/errors.js";
import {
  check,
  LAYER_KINDS,
  parseDescription,
  type LossDescription,
} from "../../runtime/models/description.js";
import type { ActivationName } from "../../runtime/models/layers/activations.js";
import type {
  Complain,
  LayerKind,
  LayerParameter,
  Shape,
} from "../../runtime/models/layers/layer.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { elements } from "../../runtime/tensors/shape.js";
import { counted } from "../counted.js";
import { foldedNorm, type BatchNormNumbers } from "./batch-norm.js";
import {
  MAX_LAYERS,
  MAX_PARAMETERS,
  refuse,
  refuseFlag,
  rowsOf,
  type Imported,
  type ImportOptions,
} from "./imported.js";
import { cardWith, type Notes } from "./notes.js";

/** Zeros around an image: [[top, bottom], [left, right]]. */
export type Pads = readonly [readonly [number, number], readonly [number, number]];

/** A tensor between layers, without the batch, in our order of axes: channels last. */
export interface Value {
  /** The layer that gives it; -1 is the network's input. */
  readonly at: number;
  readonly shape: Shape;
  /** Zeros that the file puts around it, which the next convolution takes over. */
  readonly pads?: Pads;
  /** A row whose elements the file counts with the channels first, of an image [.., channels]. */
  readonly channelsFirst?: Shape;
  /** Softmax was applied to it: only the end of a network may be so. */
  readonly softmax?: boolean;
}

type LayerType = keyof typeof LAYER_KINDS;
/** A layer's fields; `type` is one of ours. */
export type Fields = { readonly type: LayerType; readonly [field: string]: unknown };
export type Tensors = Readonly<Record<string, Float32Array | undefined>>;

/** A layer, or a multiplication and addition per channel that is still to be folded into one. */
interface Step {
  readonly node: string;
  readonly type: LayerType | "affine";
  fields: Record<string, unknown>;
  inputs: number[];
  readonly output: Shape;
  readonly parameters: readonly LayerParameter[];
  tensors: Record<string, Float32Array>;
}

/** Layers whose output is linear in `kernel` and `bias`, or in `gamma` and `beta`. */
const LINEAR: readonly string[] = [
  ...["dense", "conv1d", "conv2d", "depthwiseConv2d", "conv1dTranspose", "conv2dTranspose"],
  ...["groupNorm", "layerNorm", "embedding"],
];

/** Layers one after the other, each checked against its inputs as it comes. */
function building(input: Shape) {
  const steps: Step[] = [];
  const notes: string[] = [];
  let parametersSoFar = 0;

  if (input.length < 1 || input.length > 3)
    refuse("input", "", "one to three axes besides the batch", input);
  for (const size of input)
    if (!Number.isSafeInteger(size) || size < 1)
      refuse("input", "", "positive integers besides the batch", input);

  function put(step: Step): Value {
    if (steps.length >= 4 * MAX_LAYERS)
      refuse("file", "", `at most ${MAX_LAYERS} layers`, `more than ${steps.length}`);
    parametersSoFar += Object.values(step.tensors).reduce((sum, { length }) => sum + length, 0);
    if (parametersSoFar > MAX_PARAMETERS)
      refuse("file", "", `at most ${MAX_PARAMETERS} parameters`, String(parametersSoFar));
    steps.push(step);
    return { at: steps.length - 1, shape: step.output };
  }

  /**
   * Adds a layer. Tensors that are not given are 0, or 1 for `gamma`.
   * @param order that `channelsFirst` and `pads` of the inputs are the caller's to look after
   */
  function add(
    node: string,
    { type, ...fields }: Fields,
    inputs: readonly Value[],
    tensors: Tensors = {},
    order = false,
  ): Value {
    for (const { softmax, pads, channelsFirst } of inputs) {
      if (softmax) refuse(node, "", "Softmax at the network's end", "one in the middle");
      if (pads !== undefined) refuse(node, "", "a convolution behind zero padding", type);
      if (channelsFirst !== undefined && !order)
        refuse(node, "", "a dense layer behind a flattened image", type);
    }
    const complain: Complain = (field, expected, got) => refuse(node, field, expected, got);
    const kind = LAYER_KINDS[type] as unknown as LayerKind<
      v.GenericSchema<unknown, { readonly type: string }>
    >;
    const description = checked(node, kind.schema, { type, ...fields });
    const shapes = inputs.map(({ shape }) => shape);
    const { layer } = kind.resolve(description, shapes, complain);
    const own: Record<string, Float32Array> = {};
    for (const { name, shape } of layer.parameters) {
      const size = elements(shape);
      if (parametersSoFar + size > MAX_PARAMETERS)
        refuse(node, name, `at most ${MAX_PARAMETERS} parameters in all`, String(size));
      const given = tensors[name] ?? new Float32Array(size).fill(name === "gamma" ? 1 : 0);
      if (given.length !== size)
        refuse(node, name, `${size} numbers for [${shape.join(", ")}]`, String(given.length));
      own[name] = given;
    }
    return put({
      ...{ node, type, fields, inputs: inputs.map(({ at }) => at) },
      ...{ output: layer.output, parameters: layer.parameters, tensors: own },
    });
  }

  /** y = scale x + shift per channel; folded into a neighbour at the end. */
  function affine(node: string, x: Value, scale: Float32Array, shift: Float32Array): Value {
    const { channelsFirst, shape } = x;
    if (x.softmax || x.pads) return add(node, { type: "flatten" }, [x]);
    const channels = channelsFirst ? elements(channelsFirst) : shape[shape.length - 1];
    const whole = (values: Float32Array) => {
      const all = values.length === 1 ? new Float32Array(channels).fill(values[0]) : values;
      if (all.length !== channels)
        refuse(node, "", `one number, or one for each of ${channels} channels`, all.length);
      return channelsFirst ? rowsOf(all, channelsFirst, 1) : all;
    };
    const tensors = { scale: whole(scale), shift: whole(shift) };
    const step = { node, type: "affine" as const, fields: {}, inputs: [x.at], output: shape };
    return { ...x, ...put({ ...step, parameters: [], tensors }) };
  }

  /** f(x), joined at the end with the layer that gives x where only this one reads it. */
  const activation = (node: string, x: Value, name: ActivationName): Value => ({
    ...x,
    ...add(node, { type: "activation", activation: name }, [x], {}, true),
  });

  return { steps, notes, add, affine, activation };
}

/** A network that a reader builds layer by layer, each with its numbers. */
export function graph(input: Shape, { keepBatchNorm = false }: ImportOptions) {
  const { steps, notes, add, affine, activation } = building(input);
  return {
    input: { at: -1, shape: input } as Value,
    notes,
    add,
    affine,
    activation,
    /** The step that gives a value, for readers that recognise forms of several operators. */
    stepOf: ({ at }: Value): Readonly<Step> | undefined => steps[at],

    /** x W + b; W has a row for each input as the file counts them. */
    dense(
      node: string,
      x: Value,
      kernel: Float32Array,
      units: number,
      bias?: Float32Array,
      fields: Readonly<Record<string, unknown>> = {},
    ): Value {
      const rows = x.channelsFirst ? rowsOf(kernel, x.channelsFirst, units) : kernel;
      const tensors = { kernel: rows, bias };
      return add(node, { type: "dense", units, ...fields }, [x], tensors, true);
    },

    /** A convolution, which takes over the zeros around its input. */
    convolution(
      node: string,
      fields: Fields & { readonly padding?: unknown },
      x: Value,
      tensors: Tensors,
    ): Value {
      if (x.pads === undefined) return add(node, fields, [x], tensors);
      const { padding = "valid" } = fields;
      if (padding === "same") refuse(node, "padding", "valid behind zero padding", "same");
      const own = padding === "valid" ? NO_PADS : (padding as Pads);
      const sum = own.map((side, axis) => side.map((n, end) => n + x.pads![axis][end]));
      return add(node, { ...fields, padding: sum }, [{ ...x, pads: undefined }], tensors);
    },

    /** A scale and shift per channel by running values, or with `keepBatchNorm` a layer of them. */
    batchNorm(
      node: string,
      x: Value,
      numbers: BatchNormNumbers,
      fields: { readonly epsilon: number; readonly momentum: number },
    ): Value {
      const { scale, shift } = foldedNorm(node, numbers, fields.epsilon);
      if (!keepBatchNorm) return affine(node, x, scale, shift);
      return add(node, { type: "batchNorm", ...fields }, [x], { ...numbers });
    },

    /** Dropout does nothing to a flattened image's order. */
    dropout: (node: string, x: Value, rate: number): Value =>
      rate <= 0 ? x : { ...x, ...add(node, { type: "dropout", rate }, [x], {}, true) },

    /** All elements as a row. @param first the file counts them with the channels first */
    flatten(node: string, x: Value, first: boolean): Value {
      if (x.shape.length === 1) return x;
      const flat = add(node, { type: "flatten" }, [x]);
      const places = elements(x.shape.slice(0, -1));
      return first && places > 1 ? { ...flat, channelsFirst: x.shape } : flat;
    },

    /** The network that ends in `output`. */
    finish(output: Value, { head, loss: asked }: ImportOptions, noted: Notes = {}): Imported {
      let last = output.at;
      if (last < 0) last = add("output", { type: "flatten" }, [{ ...output, softmax: false }]).at;
      if (output.channelsFirst !== undefined)
        refuse("output", "", "a dense layer behind a flattened image", "none");
      if (output.pads !== undefined)
        refuse("output", "", "a convolution behind zero padding", "none");
      last = folded(steps, last, notes);
      const { layers, tensors } = listed(steps, last);
      if (layers.length > MAX_LAYERS)
        refuse("file", "", `at most ${MAX_LAYERS} layers`, String(layers.length));
      const final = layers[layers.length - 1];
      const loss = lossFor(final, output, asked, noted.loss, head, notes);
      const outputs = head ?? output.shape[output.shape.length - 1];
      const one = outputs === 1 && loss.type === "softmaxCrossEntropy";
      if (one && head !== undefined)
        refuseFlag("head", "2 or more, or beside it another --loss, for one output", head);
      if (one && asked !== undefined) refuseFlag("loss", "another one for one output", asked);
      // Logits have no activation of their own.
      if (loss.type.endsWith("CrossEntropy") && final["activation"] !== undefined)
        layers.push({ type: "reshape", shape: output.shape });
      const description = { input, loss, layers };
      if (head !== undefined) replaceHead(description, tensors, head, notes);
      const read = parsed(description);
      // A new layer's classes are others than the file's.
      const names = head === undefined ? noted.names : { columns: noted.names?.columns };
      return { description: read, tensors, notes, card: cardWith(read, names) };
    },
  };
}

export type Graph = ReturnType<typeof graph>;

const NO_PADS: Pads = [
  [0, 0],
  [0, 0],
];

function checked<T>(node: string, schema: v.GenericSchema<unknown, T>, value: unknown): T {
  try {
    return check(schema, value, node);
  } catch (error) {
    throw new ModelError("import", (error as Error).message);
  }
}

function parsed(description: unknown): Imported["description"] {
  const read = parseDescription(description);
  networkOf(read);
  return read;
}

/** Who reads each step, of those that the last one needs. */
function readersOf(steps: readonly Step[], last: number): Map<number, number[]> {
  const readers = new Map<number, number[]>([[last, []]]);
  for (let at = last; at >= 0; at--)
    if (readers.has(at))
      for (const input of steps[at].inputs) {
        const known = readers.get(input);
        if (known) known.push(at);
        else readers.set(input, [at]);
      }
  return readers;
}

/** Has all affine steps become part of others, and activations fields. Returns the last step. */
function folded(steps: Step[], last: number, notes: string[]): number {
  const bypass = (at: number) => {
    const [source] = steps[at].inputs;
    for (const step of steps) step.inputs = step.inputs.map((i) => (i === at ? source : i));
    if (at === last) last = source;
  };
  let norms = 0;
  // One after the other are one.
  steps.forEach((step, at) => {
    const [from] = step.inputs;
    if (step.type !== "affine" || steps[from]?.type !== "affine") return;
    if (readersOf(steps, last).get(from)?.length !== 1) return;
    scaleOutputs(steps[from], step);
    bypass(at);
  });
  for (let at = 0; at < steps.length; at++) {
    const { type, inputs } = steps[at];
    if (type !== "affine" && type !== "activation" && type !== "relu") continue;
    const readers = readersOf(steps, last);
    if (!readers.has(at)) continue;
    const [from] = inputs;
    const source = steps[from];
    const sole = source !== undefined && readers.get(from)!.length === 1;
    const free = sole && source.fields["activation"] === undefined;
    if (type !== "affine") {
      if (!free || source.type === "affine" || !LAYER_KINDS[source.type].takesActivation) continue;
      source.fields["activation"] = type === "relu" ? "relu" : steps[at].fields["activation"];
      bypass(at);
    } else if (free && (LINEAR.includes(source.type) || source.type === "affine")) {
      scaleOutputs(source, steps[at]);
      bypass(at);
      norms++;
    } else if (intoReader(steps, at, readers)) {
      bypass(at);
      norms++;
    } else steps[at] = asLayer(steps[at], notes);
  }
  if (norms > 0)
    notes.push(
      `${norms} batch normalisations, scales or shifts are part of the layers beside them.`,
    );
  return last;
}

/** The layer's outputs, scaled and shifted per channel. */
function scaleOutputs(layer: Step, { tensors: { scale, shift } }: Step): void {
  const { type, tensors } = layer;
  const channels = scale.length;
  // Transposed kernels have the outputs' channels before the inputs'.
  const inner = type.endsWith("Transpose")
    ? layer.parameters[0].shape[layer.parameters[0].shape.length - 1]
    : 1;
  const [kernel, bias] =
    type === "affine"
      ? ["scale", "shift"]
      : type.endsWith("Norm")
        ? ["gamma", "beta"]
        : ["kernel", "bias"];
  const k = tensors[kernel];
  tensors[kernel] = k.map((value, i) => value * scale[Math.floor(i / inner) % channels]);
  if (type === "embedding")
    tensors[kernel] = tensors[kernel].map((value, i) => value + shift[i % channels]);
  else tensors[bias] = tensors[bias].map((value, i) => value * scale[i] + shift[i]);
}

/** Scales the inputs of the one dense layer or convolution behind, where none has padding. */
function intoReader(
  steps: readonly Step[],
  at: number,
  readers: ReadonlyMap<number, readonly number[]>,
): boolean {
  const { scale, shift } = steps[at].tensors;
  let next = at;
  for (;;) {
    const behind = readers.get(next) ?? [];
    if (behind.length !== 1) return false;
    [next] = behind;
    const { type } = steps[next];
    if (!["flatten", "dropout", "globalAvgPool"].includes(type)) break;
  }
  const { type, fields, tensors, parameters } = steps[next];
  const padded = (fields["padding"] ?? "valid") !== "valid";
  if (type !== "dense" && (!["conv1d", "conv2d"].includes(type) || padded)) return false;
  const shape = parameters[0].shape;
  const units = shape[shape.length - 1];
  const bias = Float64Array.from(tensors["bias"]);
  tensors["kernel"] = tensors["kernel"].map((value, i) => {
    const channel = Math.floor(i / units) % scale.length;
    bias[i % units] += shift[channel] * value;
    return value * scale[channel];
  });
  tensors["bias"] = Float32Array.from(bias);
  return true;
}

/** A layer of its own that scales and shifts, where there is none beside to take it in. */
function asLayer(step: Step, notes: string[]): Step {
  const { node, output, tensors, inputs } = step;
  const { scale, shift } = tensors;
  const channels = scale.length;
  const image = output.length === 3;
  if (!image && channels > 512)
    refuse(node, "", "a dense layer or convolution right before or behind it", "none");
  notes.push(
    `${node} is a ${image ? "depthwise convolution of size 1" : "dense layer"} now: there is no layer beside it to take it in.`,
  );
  const kernel = image ? scale : new Float32Array(channels * channels);
  if (!image) scale.forEach((value, i) => (kernel[i * channels + i] = value));
  return {
    ...{ node, inputs, output },
    type: image ? "depthwiseConv2d" : "dense",
    fields: image ? { kernelSize: 1 } : { units: channels },
    parameters: [
      {
        name: "kernel",
        shape: image ? [1, 1, channels, 1] : [channels, channels],
        initial: { fanIn: 1 },
      },
      { name: "bias", shape: [channels], initial: { fanIn: 1 } },
    ],
    tensors: { kernel, bias: shift },
  };
}

interface Listed {
  readonly layers: Record<string, unknown>[];
  readonly tensors: Map<string, Float32Array>;
}

/** The steps that are read as a description's layers; names only where somebody needs them. */
function listed(steps: readonly Step[], last: number): Listed {
  const readers = readersOf(steps, last);
  const used = steps.flatMap((_, at) => (at <= last && readers.has(at) ? [at] : []));
  const places = new Map(used.map((at, place) => [at, place]));
  const taken = new Set(["input"]);
  const names = new Map<number, string>();
  const nameOf = (at: number): string => {
    if (at < 0) return "input";
    const known = names.get(at);
    if (known !== undefined) return known;
    const { node, type } = steps[at];
    const own = node.replace(/ \(.*$/, "").replace(/[^A-Za-z0-9_]+/g, "_");
    const short = /^[A-Za-z]/.test(own) ? own.slice(0, 50) : `${type}_${places.get(at)}`;
    const name = taken.has(short) ? `${short.slice(0, 50)}_${places.get(at)}` : short;
    taken.add(name);
    names.set(at, name);
    return name;
  };
  const sources = used.map((at, place) => {
    const { inputs } = steps[at];
    const before = place === 0 ? -1 : used[place - 1];
    return inputs.length === 1 && inputs[0] === before ? undefined : inputs.map(nameOf);
  });
  const tensors = new Map<string, Float32Array>();
  const layers = used.map((at, place) => {
    const { type, fields, parameters, tensors: own } = steps[at];
    for (const { name } of parameters) tensors.set(`${place}.${name}`, own[name]);
    const name = names.get(at);
    const inputs = sources[place];
    return { type, ...fields, ...(name && { name }), ...(inputs && { inputs }) };
  });
  return { layers, tensors };
}

const LOSSES = [
  ...["softmaxCrossEntropy", "sigmoidCrossEntropy", "meanSquaredError", "meanAbsoluteError"],
  "huber",
] as const;

/** The loss: asked for, said by the end of the network or the file, or guessed with a note. */
function lossFor(
  final: Record<string, unknown>,
  { softmax, shape }: Value,
  asked: string | undefined,
  said: LossDescription | undefined,
  head: number | undefined,
  notes: string[],
): LossDescription {
  const numbers = said !== undefined && !said.type.endsWith("CrossEntropy");
  const name = LOSSES.find((one) => one === asked);
  if (asked !== undefined && name === undefined)
    refuseFlag("loss", `one of ${LOSSES.join(", ")}`, asked);
  if (head !== undefined) return { type: name ?? "softmaxCrossEntropy" };
  const sigmoid = final["activation"] === "sigmoid" || final["activation"] === "hardSigmoid";
  let loss: LossDescription;
  if (name !== undefined) loss = { type: name };
  else if (softmax) loss = { type: "softmaxCrossEntropy" };
  else if (final["activation"] === "sigmoid" && !numbers) loss = { type: "sigmoidCrossEntropy" };
  else if (said !== undefined) loss = said;
  else {
    const many = shape[shape.length - 1] > 1;
    const plain = final["type"] === "dense" && final["activation"] === undefined;
    loss = { type: plain && many ? "softmaxCrossEntropy" : "meanSquaredError" };
    notes.push(`The file does not say the loss; ${loss.type} is taken (--loss says another).`);
  }
  if (loss.type === "sigmoidCrossEntropy" && sigmoid) {
    delete final["activation"];
    // A layer that is nothing but the sigmoid keeps its place.
    if (final["type"] === "activation") Object.assign(final, { type: "reshape", shape });
  }
  if (softmax && !loss.type.endsWith("CrossEntropy"))
    refuseFlag("loss", "softmaxCrossEntropy behind Softmax", loss.type);
  return loss;
}

/** A new dense layer in place of the last one, with weights to begin with. */
function replaceHead(
  description: {
    readonly input: Shape;
    readonly loss: unknown;
    readonly layers: Record<string, unknown>[];
  },
  tensors: Map<string, Float32Array>,
  units: number,
  notes: string[],
): void {
  const { layers } = description;
  const place = layers.length - 1;
  const { type, inputs, name } = layers[place];
  if (type !== "dense") refuseFlag("head", "a dense layer at the network's end", type);
  layers[place] = { type, units, ...(name ? { name } : {}), ...(inputs ? { inputs } : {}) };
  const network = networkOf(parseDescription(description));
  const weights = initialWeights(network, "head");
  for (const parameter of network.layout.parameters)
    if (parameter.name.startsWith(`${place}.`))
      tensors.set(parameter.name, parameterView(weights, parameter).slice());
  notes.push(`Layer ${place} is new: dense with ${counted(units, "output")} and random weights.`);
}
