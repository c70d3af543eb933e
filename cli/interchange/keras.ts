import type { LossDescription } from "../../runtime/models/description.js";
import type { ActivationName } from "../../runtime/models/layers/activations.js";
import type { Shape } from "../../runtime/models/layers/layer.js";
import { elements } from "../../runtime/tensors/shape.js";
import { graph, type Fields, type Graph, type Pads, type Value } from "./graph.js";
import {
  MAX_LAYERS,
  refuse,
  type Imported,
  type ImportOptions,
  type FileTensor,
} from "./imported.js";
import type { Notes } from "./notes.js";

type Json = Readonly<Record<string, unknown>>;

/** Where a layer's numbers are looked for. */
export interface LayerPlace {
  /** Its name, as files name their tensors up to Keras 2 and in tfjs. */
  readonly name: string;
  /** Its group in the weights of a `.keras` file. */
  readonly group: string;
}

/** Finds numbers of a layer by its variables' names; `part` is a layer inside of it. */
export type Variables = (
  place: LayerPlace,
  names: readonly string[],
  part?: InnerLayer,
) => readonly (FileTensor | undefined)[];

export interface InnerLayer {
  /** Group below the layer's own in a `.keras` file. */
  readonly group: string;
  /** How a piece of the path begins, elsewhere. */
  readonly begins?: string;
}

/** What a file says beside its network. */
export interface Said {
  /** `2.4.0`, `3.10.0`, or what tfjs says. */
  readonly version: string;
  readonly notes?: Notes;
}

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const objectOf = (value: unknown, node: string): Json =>
  isObject(value) ? value : refuse(node, "", "an object", value);

/** One layer's configuration, read with checks. */
function configOf(label: string, config: Json) {
  const number = (field: string, initial: number): number => {
    const value = config[field] ?? initial;
    return typeof value === "number" ? value : refuse(label, field, "a number", value);
  };
  const flag = (field: string, initial: boolean): boolean => {
    const value = config[field] ?? initial;
    return typeof value === "boolean" ? value : refuse(label, field, "true or false", value);
  };
  const text = (field: string, initial: string): string => {
    const value = config[field] ?? initial;
    return typeof value === "string" ? value : refuse(label, field, "a text", value);
  };
  return {
    ...{ label, config, number, flag, text },
    /** A number, or the same for both axes, or a pair. */
    size(field: string, initial: unknown): number | readonly number[] {
      const value = config[field] ?? initial;
      if (typeof value === "number") return value;
      if (!Array.isArray(value) || !value.every((one) => typeof one === "number"))
        return refuse(label, field, "whole numbers", value);
      const [first] = value as number[];
      return value.length === 1 || (value.length === 2 && first === value[1])
        ? first
        : (value as number[]);
    },
    only(field: string, allowed: readonly unknown[]): void {
      const value = config[field];
      const plain =
        Array.isArray(value) && value.length > 0 && value.every((v) => v === value[0])
          ? (value[0] as unknown)
          : value;
      if (value === undefined || value === null || allowed.includes(plain)) return;
      refuse(label, field, allowed.join(" or "), value);
    },
  };
}

type Config = ReturnType<typeof configOf>;

/** What a layer's function is given. */
interface Call extends Config {
  readonly network: Graph;
  readonly place: LayerPlace;
  readonly inputs: readonly Value[];
  readonly x: Value;
  readonly version: string;
  /** Arguments of the call. */
  readonly named: Json;
  readonly masked: Masked;
  weights(names: readonly string[], part?: InnerLayer): Record<string, FileTensor>;
}

/** Which layer hides padded steps from those behind. */
interface Masked {
  by?: string;
}

type LayerReader = (call: Call) => Value;

const ACTIVATIONS: Readonly<Record<string, ActivationName>> = {
  ...{ relu: "relu", relu6: "relu6", tanh: "tanh", sigmoid: "sigmoid", elu: "elu" },
  ...{ swish: "silu", silu: "silu", gelu: "gelu", hard_swish: "hardSwish", hard_silu: "hardSwish" },
};

/** The name of an activation: of a text, or of an object with a name inside. */
function activationNamed(
  call: Config & { readonly version: string },
  field = "activation",
): ActivationName | "softmax" | undefined {
  const said = call.config[field];
  let name = said;
  for (let i = 0; i < 3 && isObject(name); i++) {
    const { class_name, config } = name;
    if (typeof config === "string") name = config;
    else if (isObject(config) && typeof config["name"] === "string" && class_name === "function")
      name = config["name"];
    else name = class_name;
  }
  if (name === undefined || name === null || name === "linear") return undefined;
  if (typeof name !== "string") return refuse(call.label, field, "an activation's name", said);
  const key = name
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .replace(/^re_lu/, "relu");
  if (key === "softmax") return "softmax";
  // Up to Keras 2 it was x/5 + 1/2, as in tfjs; since Keras 3 x/6 + 1/2.
  if (key === "hard_sigmoid") return /^3/.test(call.version) ? "hardSigmoid" : "hardSigmoid5";
  return Object.hasOwn(ACTIVATIONS, key)
    ? ACTIVATIONS[key]
    : refuse(
        call.label,
        field,
        `one of ${[...Object.keys(ACTIVATIONS), "hard_sigmoid", "softmax"].join(", ")}`,
        name,
      );
}

/** The layer's own activation behind what it computes. */
function activated(call: Call, y: Value): Value {
  const name = activationNamed(call);
  if (name === undefined) return y;
  if (name === "softmax") return { ...y, softmax: true };
  return call.network.activation(call.label, y, name);
}

function channelsLast(call: Call): void {
  call.only("data_format", ["channels_last"]);
}

function paddingOf(call: Call): "valid" | "same" | Pads {
  const padding = call.text("padding", "valid");
  if (padding === "valid" || padding === "same") return padding;
  if (padding !== "causal") return refuse(call.label, "padding", "valid, same or causal", padding);
  const size = call.size("kernel_size", 1);
  const stride = call.size("strides", 1);
  if (typeof size !== "number" || stride !== 1)
    return refuse(call.label, "padding", "causal with strides of 1", stride);
  return [
    [0, 0],
    [size - 1, 0],
  ];
}

const bias = (call: Call): readonly string[] => (call.flag("use_bias", true) ? ["bias"] : []);

const dense: LayerReader = (call) => {
  const { network, label, x } = call;
  const { kernel, bias: b } = call.weights(["kernel", ...bias(call)]);
  const units = call.number("units", 0);
  const y =
    x.shape.length === 3
      ? network.convolution(label, { type: "conv2d", filters: units, kernelSize: 1 }, x, {
          kernel: kernel.data,
          bias: b?.data,
        })
      : network.dense(label, x, kernel.data, units, b?.data);
  return activated(call, y);
};

const convolution =
  (type: "conv1d" | "conv2d"): LayerReader =>
  (call) => {
    const { network, label, x } = call;
    channelsLast(call);
    call.only("dilation_rate", [1]);
    call.only("groups", [1]);
    const { kernel, bias: b } = call.weights(["kernel", ...bias(call)]);
    const fields = {
      ...{ type, filters: call.number("filters", 0), kernelSize: call.size("kernel_size", 0) },
      ...{ strides: call.size("strides", 1), padding: paddingOf(call) },
    };
    return activated(
      call,
      network.convolution(label, fields, x, { kernel: kernel.data, bias: b?.data }),
    );
  };

const depthwise: LayerReader = (call) => {
  const { network, label, x } = call;
  channelsLast(call);
  call.only("dilation_rate", [1]);
  const { depthwise_kernel: kernel, bias: b } = call.weights(["depthwise_kernel", ...bias(call)]);
  const fields = {
    ...{ type: "depthwiseConv2d" as const, kernelSize: call.size("kernel_size", 0) },
    ...{ multiplier: call.number("depth_multiplier", 1), strides: call.size("strides", 1) },
    padding: paddingOf(call),
  };
  return activated(
    call,
    network.convolution(label, fields, x, { kernel: kernel.data, bias: b?.data }),
  );
};

const separable: LayerReader = (call) => {
  const { network, label, x } = call;
  channelsLast(call);
  call.only("dilation_rate", [1]);
  const read = call.weights(["depthwise_kernel", "pointwise_kernel", ...bias(call)]);
  const fields = {
    ...{ type: "depthwiseConv2d" as const, kernelSize: call.size("kernel_size", 0) },
    ...{ multiplier: call.number("depth_multiplier", 1), strides: call.size("strides", 1) },
    padding: paddingOf(call),
  };
  const middle = network.convolution(label, fields, x, { kernel: read["depthwise_kernel"].data });
  const pointwise = { type: "conv2d" as const, filters: call.number("filters", 0), kernelSize: 1 };
  const tensors = { kernel: read["pointwise_kernel"].data, bias: read["bias"]?.data };
  return activated(call, network.convolution(label, pointwise, middle, tensors));
};

const transposed =
  (type: "conv1dTranspose" | "conv2dTranspose"): LayerReader =>
  (call) => {
    const { network, label, x } = call;
    channelsLast(call);
    call.only("dilation_rate", [1]);
    call.only("output_padding", []);
    const { kernel, bias: b } = call.weights(["kernel", ...bias(call)]);
    const fields: Fields = {
      ...{ type, filters: call.number("filters", 0), kernelSize: call.size("kernel_size", 0) },
      ...{ strides: call.size("strides", 1), padding: call.text("padding", "valid") },
    };
    return activated(call, network.add(label, fields, [x], { kernel: kernel.data, bias: b?.data }));
  };

const pool =
  (type: "maxPool" | "avgPool"): LayerReader =>
  (call) => {
    channelsLast(call);
    const size = call.size("pool_size", 2);
    const strides = call.size("strides", size);
    return call.network.add(
      call.label,
      { type, size, strides, padding: call.text("padding", "valid") },
      [call.x],
    );
  };

const globalPool =
  (type: "globalAvgPool" | "globalMaxPool"): LayerReader =>
  (call) => {
    channelsLast(call);
    if (call.masked.by) refuse(call.label, "", "no mask_zero before it", call.masked.by);
    const { network, label, x } = call;
    const y = network.add(label, { type }, [x]);
    if (!call.flag("keepdims", false)) return y;
    const shape = [...x.shape.slice(0, -1).map(() => 1), y.shape[0]];
    return network.add(label, { type: "reshape", shape }, [y]);
  };

const lastAxis = (call: Call): void => {
  const { axis } = call.config;
  const value: unknown = Array.isArray(axis) && axis.length === 1 ? axis[0] : axis;
  if (value === undefined || value === null || value === -1 || value === call.x.shape.length)
    return;
  refuse(call.label, "axis", "-1, the channels", axis);
};

const batchNorm: LayerReader = (call) => {
  lastAxis(call);
  const [scale, center] = [call.flag("scale", true), call.flag("center", true)];
  const read = call.weights([
    ...(scale ? ["gamma"] : []),
    ...(center ? ["beta"] : []),
    ...["moving_mean", "moving_variance"],
  ]);
  const mean = read["moving_mean"].data;
  const numbers = {
    ...{ mean, variance: read["moving_variance"].data },
    gamma: read["gamma"]?.data ?? new Float32Array(mean.length).fill(1),
    beta: read["beta"]?.data ?? new Float32Array(mean.length),
  };
  return call.network.batchNorm(call.label, call.x, numbers, {
    epsilon: call.number("epsilon", 1e-3),
    momentum: call.number("momentum", 0.99),
  });
};

const norm =
  (type: "layerNorm" | "groupNorm"): LayerReader =>
  (call) => {
    lastAxis(call);
    call.only("rms_scaling", [false]);
    const { network, label, x } = call;
    const names = [
      ...(call.flag("scale", true) ? ["gamma"] : []),
      ...(call.flag("center", true) ? ["beta"] : []),
    ];
    const { gamma, beta } = call.weights(names);
    const groups = call.number("groups", 32);
    const fields: Fields = {
      type,
      ...(type === "groupNorm" && { groups: groups === -1 ? x.shape[x.shape.length - 1] : groups }),
      epsilon: call.number("epsilon", 1e-3),
    };
    return network.add(label, fields, [x], { gamma: gamma?.data, beta: beta?.data });
  };

/** A GRU or LSTM; `inside` says where a wrapper keeps its numbers. */
function recurrent(
  type: "gru" | "lstm",
  call: Call,
  inside?: InnerLayer,
  backwards?: boolean,
): Value {
  const { network, label, x } = call;
  for (const field of ["return_state", "stateful"]) call.only(field, [false]);
  const sequences = call.flag("return_sequences", false);
  const reverse = backwards ?? call.flag("go_backwards", false);
  if (backwards === undefined && reverse && sequences)
    refuse(label, "go_backwards", "false where all steps are returned", true);
  if (call.masked.by && !sequences)
    refuse(label, "return_sequences", "true behind mask_zero", `false behind ${call.masked.by}`);
  for (const field of ["dropout", "recurrent_dropout"])
    if (call.number(field, 0) > 0) network.notes.push(`${label}: ${field} is left out.`);
  const part = { group: `${inside ? `${inside.group}/` : ""}cell`, begins: inside?.begins };
  const read = call.weights(["kernel", "recurrent_kernel", ...bias(call)], part);
  const [kernel, recurrentKernel, b] = ["kernel", "recurrent_kernel", "bias"].map(
    (name) => read[name]?.data,
  );
  const units = call.number("units", 0);
  const resetAfter = type === "gru" && call.flag("reset_after", false);
  const width = (type === "gru" ? 3 : 4) * units;
  if (b !== undefined && b.length !== (resetAfter ? 2 : 1) * width)
    refuse(label, "bias", `${(resetAfter ? 2 : 1) * width} numbers`, b.length);
  const f = activationNamed(call);
  const g = activationNamed(call, "recurrent_activation");
  const state = (name: ActivationName | "softmax" | undefined, field: string): ActivationName =>
    name === undefined || name === "softmax"
      ? refuse(label, field, "a nonlinear one", name ?? "linear")
      : name;
  return network.add(
    label,
    {
      ...{ type, units },
      ...(sequences && { returnSequences: true }),
      ...(reverse && { reverse: true }),
      ...(type === "gru" && { resetAfter }),
      ...(f !== "tanh" && { activation: state(f, "activation") }),
      ...(g !== "sigmoid" && { recurrentActivation: state(g, "recurrent_activation") }),
    },
    [x],
    {
      ...{ kernel, recurrentKernel },
      ...(b && { bias: b.subarray(0, width) }),
      ...(b && resetAfter && { recurrentBias: b.subarray(width) }),
    },
  );
}

/** Reads the layer inside of a wrapper. */
function inner(call: Call, field: string): { readonly type: string; readonly call: Call } {
  const layer = objectOf(call.config[field], `${call.label}.${field}`);
  const config = objectOf(layer["config"], `${call.label}.${field}.config`);
  return { type: String(layer["class_name"]), call: { ...call, ...configOf(call.label, config) } };
}

const bidirectional: LayerReader = (call) => {
  const { network, label } = call;
  const { type, call: own } = inner(call, "layer");
  if (type !== "GRU" && type !== "LSTM") refuse(label, "layer", "GRU or LSTM", type);
  const kind = type === "GRU" ? "gru" : "lstm";
  const mode = call.text("merge_mode", "concat");
  const [forward, backward] = [
    recurrent(kind, own, { group: "forward_layer", begins: "forward" }, false),
    recurrent(kind, own, { group: "backward_layer", begins: "backward" }, true),
  ];
  const types = { concat: "concat", sum: "add", mul: "multiply" } as const;
  if (mode !== "concat" && mode !== "sum" && mode !== "mul")
    return refuse(label, "merge_mode", "concat, sum or mul", mode);
  return network.add(label, { type: types[mode] }, [forward, backward]);
};

const timeDistributed: LayerReader = (call) => {
  const { type, call: own } = inner(call, "layer");
  if (type !== "Dense") refuse(call.label, "layer", "Dense", type);
  const weights: Call["weights"] = (names) => call.weights(names, { group: "layer" });
  return dense({ ...own, weights });
};

const attention: LayerReader = (call) => {
  const { network, label, inputs, x, named } = call;
  const key = call.number("key_dim", 0);
  call.only("value_dim", [key]);
  if (inputs.some(({ at }) => at !== x.at))
    refuse(label, "", "self-attention", "other keys or values");
  const heads = call.number("num_heads", 0);
  const with_ = ["kernel", ...bias(call)];
  const [q, k, v, o] = ["query", "key", "value", "attention_output"].map((begins) =>
    call.weights(with_, {
      group: begins === "attention_output" ? "output_dense" : `${begins}_dense`,
      begins,
    }),
  );
  const inside = heads * key;
  const side = (parts: readonly (Float32Array | undefined)[]) => {
    const rows = (parts[0]?.length ?? 0) / inside;
    const all = new Float32Array(3 * inside * rows);
    parts.forEach((part, i) => {
      for (let row = 0; row < rows; row++)
        all.set(part!.subarray(row * inside, (row + 1) * inside), row * 3 * inside + i * inside);
    });
    return all;
  };
  const causal = named["use_causal_mask"] === true;
  return network.add(
    label,
    { type: "multiHeadAttention", heads, keySize: key, ...(causal && { causal }) },
    [x],
    {
      kernel: side([q, k, v].map(({ kernel }) => kernel.data)),
      ...(q["bias"] && { bias: side([q, k, v].map((part) => part["bias"].data)) }),
      outputKernel: o["kernel"].data,
      outputBias: o["bias"]?.data,
    },
  );
};

const several =
  (type: "add" | "multiply" | "concat"): LayerReader =>
  (call) => {
    if (type === "concat") {
      const axis = call.number("axis", -1);
      if (axis !== -1 && axis !== call.x.shape.length)
        refuse(call.label, "axis", "-1, the channels", axis);
    }
    return call.network.add(
      call.label,
      { type },
      type === "multiply" ? call.inputs.map((x) => asGate(call, x)) : call.inputs,
    );
  };

/** A row of channels that stands at one place, such as 1 x 1 x C, weighs all places of the others. */
function asGate({ network, label, inputs }: Call, x: Value): Value {
  const { shape } = x;
  const places = shape.slice(0, -1);
  const alone = inputs.every((other) => other.shape.join() === shape.join());
  if (alone || places.length === 0 || places.some((size) => size !== 1)) return x;
  return network.add(label, { type: "reshape", shape: shape.slice(-1) }, [x]);
}

const zeroPadding: LayerReader = (call) => {
  channelsLast(call);
  const { label, x, config } = call;
  const said = config["padding"] ?? 1;
  const pair = (value: unknown): readonly [number, number] => {
    if (typeof value === "number") return [value, value];
    if (
      Array.isArray(value) &&
      value.length === 2 &&
      value.every((n) => Number.isInteger(n) && n >= 0)
    )
      return [Number(value[0]), Number(value[1])];
    return refuse(label, "padding", "whole numbers", said);
  };
  if (x.pads) refuse(label, "", "a convolution behind zero padding", "zero padding");
  if (x.shape.length === 2) return { ...x, pads: [[0, 0], pair(said)] };
  const [rows, columns] = Array.isArray(said) ? (said as unknown[]) : [said, said];
  return { ...x, pads: [pair(rows), pair(columns)] };
};

const unchanged: LayerReader = ({ x }) => x;

const noted: LayerReader = ({ network, label, x }) => {
  network.notes.push(`${label} is left out: it does something while training only.`);
  return x;
};

const embedding: LayerReader = (call) => {
  const { network, label, x, masked } = call;
  const { embeddings } = call.weights(["embeddings"]);
  if (call.flag("mask_zero", false)) {
    masked.by = label;
    network.notes.push(`${label}: mask_zero is left out; give padded places the label -1.`);
  }
  const [vocabulary, units] = [call.number("input_dim", 0), call.number("output_dim", 0)];
  return network.add(label, { type: "embedding", vocabulary, units }, [x], {
    kernel: embeddings.data,
  });
};

const relu: LayerReader = (call) => {
  call.only("negative_slope", [0]);
  call.only("threshold", [0]);
  call.only("max_value", [6]);
  const { network, label, x, config } = call;
  return network.activation(label, x, (config["max_value"] ?? null) === null ? "relu" : "relu6");
};

const leakyRelu: LayerReader = (call) => {
  const { config, label, network, x } = call;
  const slope = config["negative_slope"] ?? config["alpha"] ?? 0.3;
  if (typeof slope !== "number" || Math.abs(slope - 0.01) > 1e-6)
    refuse(label, "alpha" in config ? "alpha" : "negative_slope", "0.01", slope);
  return network.activation(label, x, "leakyRelu");
};

export const LAYERS: Readonly<Record<string, LayerReader>> = {
  ...{ Dense: dense, Conv1D: convolution("conv1d"), Conv2D: convolution("conv2d") },
  ...{ Convolution1D: convolution("conv1d"), Convolution2D: convolution("conv2d") },
  ...{ DepthwiseConv2D: depthwise, SeparableConv2D: separable },
  ...{
    Conv1DTranspose: transposed("conv1dTranspose"),
    Conv2DTranspose: transposed("conv2dTranspose"),
  },
  ...{ MaxPooling1D: pool("maxPool"), MaxPooling2D: pool("maxPool") },
  ...{ AveragePooling1D: pool("avgPool"), AveragePooling2D: pool("avgPool") },
  ...{
    GlobalAveragePooling1D: globalPool("globalAvgPool"),
    GlobalAveragePooling2D: globalPool("globalAvgPool"),
  },
  ...{
    GlobalMaxPooling1D: globalPool("globalMaxPool"),
    GlobalMaxPooling2D: globalPool("globalMaxPool"),
  },
  ...{
    BatchNormalization: batchNorm,
    LayerNormalization: norm("layerNorm"),
    GroupNormalization: norm("groupNorm"),
  },
  GRU: (call) => recurrent("gru", call),
  LSTM: (call) => recurrent("lstm", call),
  ...{ CuDNNGRU: unknownCuda, CuDNNLSTM: unknownCuda },
  ...{
    Bidirectional: bidirectional,
    TimeDistributed: timeDistributed,
    MultiHeadAttention: attention,
  },
  ...{ Add: several("add"), Multiply: several("multiply"), Concatenate: several("concat") },
  ...{ ZeroPadding1D: zeroPadding, ZeroPadding2D: zeroPadding },
  ...{ Embedding: embedding, ReLU: relu, LeakyReLU: leakyRelu, InputLayer: unchanged },
  ELU: (call) => {
    call.only("alpha", [1]);
    return call.network.activation(call.label, call.x, "elu");
  },
  Softmax: (call) => {
    lastAxis(call);
    return { ...call.x, softmax: true };
  },
  Activation: (call) => activated(call, call.x),
  Flatten: (call) => {
    channelsLast(call);
    return call.network.flatten(call.label, call.x, false);
  },
  Dropout: ({ network, label, x, number }) => network.dropout(label, x, number("rate", 0)),
  ...{
    SpatialDropout1D: noted,
    SpatialDropout2D: noted,
    GaussianNoise: noted,
    GaussianDropout: noted,
  },
  ...{
    AlphaDropout: noted,
    ActivityRegularization: noted,
    RandomFlip: noted,
    RandomRotation: noted,
  },
  ...{
    RandomZoom: noted,
    RandomTranslation: noted,
    RandomContrast: noted,
    RandomBrightness: noted,
  },
  Reshape: (call) => {
    const { config, label, network, x } = call;
    const target = config["target_shape"];
    const size = elements(x.shape);
    if (!Array.isArray(target) || !target.every((n) => Number.isInteger(n)))
      return refuse(label, "target_shape", "whole numbers", target);
    const known = (target as number[]).filter((n) => n > 0).reduce((a, b) => a * b, 1);
    const shape = (target as number[]).map((n) => (n === -1 ? size / known : n));
    return network.add(label, { type: "reshape", shape }, [x]);
  },
  RepeatVector: ({ network, label, x, number }) =>
    network.add(label, { type: "repeat", times: number("n", 0) }, [x]),
  UpSampling1D: (call) =>
    call.network.add(call.label, { type: "upsample", size: call.size("size", 2) }, [call.x]),
  UpSampling2D: (call) => {
    channelsLast(call);
    call.only("interpolation", ["nearest"]);
    return call.network.add(call.label, { type: "upsample", size: call.size("size", 2) }, [call.x]);
  },
  Rescaling: (call) => {
    const { network, label, x } = call;
    const one = (field: string, initial: number) => Float32Array.of(call.number(field, initial));
    return network.affine(label, x, one("scale", 1), one("offset", 0));
  },
};

function unknownCuda({ label }: Call): Value {
  return refuse(label, "", "GRU or LSTM", "a layer of CUDA's");
}

/** Reads a network by its configuration. @throws ModelError `import` */
export function readKeras(
  topology: unknown,
  variables: Variables,
  said: Said,
  options: ImportOptions,
): Imported {
  const model = objectOf(topology, "model_config");
  const input = inputOf(model);
  const network = graph(input, options);
  let layers = 0;
  const output = run(model, [network.input], "layers", 0);
  return network.finish(output, options, said.notes);

  /** A network, or one inside of another, applied to its inputs. */
  function run(described: Json, inputs: readonly Value[], group: string, depth: number): Value {
    if (depth > 8) refuse("model_config", "", "networks at most 8 deep", "deeper ones");
    const type = String(described["class_name"]);
    const list = layersOf(described);
    const groups = new Map<string, number>();
    const masked: Masked = {};
    const apply = (layer: Json, from: readonly Value[], named: Json): Value => {
      const className = String(layer["class_name"]);
      const name = nameOf(layer);
      const label = labelOf(layer);
      const config = objectOf(layer["config"], `${label}.config`);
      const snake = snakeCase(className);
      const count = groups.get(snake) ?? 0;
      groups.set(snake, count + 1);
      const place = { name, group: `${group}/${count === 0 ? snake : `${snake}_${count}`}` };
      if (++layers > MAX_LAYERS) refuse("model_config", "layers", `at most ${MAX_LAYERS}`, "more");
      if (["Sequential", "Functional", "Model"].includes(className))
        return run(layer, from, `${place.group}/layers`, depth + 1);
      const read = Object.hasOwn(LAYERS, className) ? LAYERS[className] : undefined;
      if (read === undefined)
        return refuse(label, "", "a layer among those of docs/interchange.md", className);
      if (from.length === 0) refuse(label, "inbound_nodes", "an input", "none");
      return read({
        ...configOf(label, config),
        ...{ network, place, inputs: from, x: from[0], version: said.version, named, masked },
        weights: (names, part) => found(label, names, variables(place, names, part)),
      });
    };
    if (type === "Sequential")
      return list.reduce<Value>((x, layer) => apply(layer, [x], {}), inputs[0]);
    const values = new Map<string, Value>();
    const outside = [...inputs];
    for (const layer of list) {
      const name = nameOf(layer);
      const calls = layer["inbound_nodes"];
      if (!Array.isArray(calls)) return refuse(name, "inbound_nodes", "a list", calls);
      if (layer["class_name"] === "InputLayer") {
        const given = outside.shift();
        if (given === undefined) return refuse(name, "", "one input of the network", "another");
        values.set(name, given);
        groups.set("input_layer", (groups.get("input_layer") ?? 0) + 1);
        continue;
      }
      if (calls.length !== 1)
        return refuse(name, "inbound_nodes", "a layer that is used once", `${calls.length} times`);
      const { names, named } = callOf(name, calls[0]);
      const from = names.map(
        (source) =>
          values.get(source) ?? refuse(name, "inbound_nodes", "a layer before it", source),
      );
      values.set(name, apply(layer, from, named));
    }
    const ends = objectOf(described["config"], `${type}.config`)["output_layers"];
    const end: unknown = Array.isArray(ends) && Array.isArray(ends[0]) ? ends[0] : ends;
    if (!Array.isArray(end) || (Array.isArray(ends) && Array.isArray(ends[0]) && ends.length !== 1))
      return refuse(type, "output_layers", "one output", ends);
    return values.get(String(end[0])) ?? refuse(type, "output_layers", "a layer's name", end[0]);
  }
}

const found = (
  label: string,
  names: readonly string[],
  numbers: readonly (FileTensor | undefined)[],
): Record<string, FileTensor> =>
  Object.fromEntries(
    names.map((name, i) => [
      name,
      numbers[i] ?? refuse(label, name, "numbers in the file", "none"),
    ]),
  );

/** A layer's name: its own, that in its configuration, or its class. */
function nameOf(layer: Json): string {
  const { name, config, class_name } = layer;
  return String(name ?? (isObject(config) ? config["name"] : undefined) ?? class_name);
}

const labelOf = (layer: Json): string => `${nameOf(layer)} (${String(layer["class_name"])})`;

function layersOf(model: Json): readonly Json[] {
  const type = String(model["class_name"]);
  if (!["Sequential", "Functional", "Model"].includes(type))
    return refuse("model_config", "class_name", "Sequential, Functional or Model", type);
  const { config } = model;
  const list = Array.isArray(config)
    ? (config as unknown[])
    : objectOf(config, `${type}.config`)["layers"];
  if (!Array.isArray(list) || list.length === 0 || !list.every(isObject))
    return refuse(type, "layers", "a list of layers", list);
  return list;
}

/** The input's shape: of the InputLayer, or of the first layer. */
function inputOf(model: Json): Shape {
  const list = layersOf(model);
  const inputs = list.filter((layer) => layer["class_name"] === "InputLayer");
  if (inputs.length > 1)
    refuse(
      "model_config",
      "inputs",
      "one input",
      inputs.map(({ name }) => name),
    );
  const [first] = list;
  const layer = inputs[0] ?? first;
  const config = objectOf(layer["config"], `${labelOf(layer)}.config`);
  const build = isObject(layer["build_config"]) ? layer["build_config"]["input_shape"] : undefined;
  const outer = isObject(model["config"]) ? model["config"]["build_input_shape"] : undefined;
  let shape = config["batch_input_shape"] ?? config["batch_shape"] ?? build ?? outer;
  if (Array.isArray(shape) && shape.length === 1 && Array.isArray(shape[0]))
    [shape] = shape as unknown[];
  const nested = ["Sequential", "Functional", "Model"].includes(String(layer["class_name"]));
  if (shape === undefined && nested) return inputOf(layer);
  if (!Array.isArray(shape) || !shape.slice(1).every((n) => Number.isInteger(n)))
    return refuse(
      String(config["name"] ?? "input"),
      "batch_input_shape",
      "a number for each axis but the batch's",
      shape,
    );
  return (shape as number[]).slice(1);
}

/** Names of the layers that a call reads, in the form of Keras 2 or of Keras 3, and its arguments. */
function callOf(name: string, call: unknown): { readonly names: string[]; readonly named: Json } {
  const names: string[] = [];
  const tensor = (node: unknown, at: unknown, source: unknown): void => {
    if (at !== 0 || node !== 0)
      refuse(name, "inbound_nodes", "the only output of a layer used once", [source, node, at]);
    names.push(String(source));
  };
  if (Array.isArray(call)) {
    const list: unknown[] = Array.isArray(call[0]) ? (call as unknown[]) : [call];
    for (const part of list) {
      if (!Array.isArray(part)) return refuse(name, "inbound_nodes", "a list", part);
      tensor(part[1], part[2], part[0]);
    }
    const [first] = list as unknown[][];
    return { names, named: isObject(first?.[3]) ? first[3] : {} };
  }
  const { args, kwargs } = objectOf(call, `${name}.inbound_nodes`);
  const visit = (value: unknown, depth: number): void => {
    if (depth > 6) return;
    if (Array.isArray(value)) for (const one of value) visit(one, depth + 1);
    else if (isObject(value) && isObject(value["config"])) {
      const history = value["config"]["keras_history"];
      if (Array.isArray(history)) tensor(history[1], history[2], history[0]);
    }
  };
  visit(args, 0);
  const named = isObject(kwargs) ? kwargs : {};
  visit(Object.values(named), 0);
  return { names, named };
}

/** A class as Keras names its group: `layer_normalization`. */
export const snakeCase = (name: string): string =>
  name
    .replace(/\W+/g, "")
    .replace(/(.)([A-Z][a-z]+)/g, "$1_$2")
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .toLowerCase();

/** Variables that Keras 3 calls otherwise than Keras 2. */
const RENAMED: Readonly<Record<string, string>> = { depthwise_kernel: "kernel" };

/** Numbers by their paths: `dense_1/kernel`, `model_weights/dense_1/dense_1/kernel:0`. */
export function variablesByName(numbers: ReadonlyMap<string, FileTensor>): Variables {
  const byLayer = new Map<
    string,
    { readonly pieces: readonly string[]; readonly numbers: FileTensor }[]
  >();
  for (const [path, values] of numbers) {
    const pieces = path.replace(/:\d+$/, "").split("/");
    for (const piece of new Set(pieces)) {
      const known = byLayer.get(piece);
      if (known) known.push({ pieces, numbers: values });
      else byLayer.set(piece, [{ pieces, numbers: values }]);
    }
  }
  return ({ name }, names, part) =>
    names.map(
      (variable) =>
        byLayer
          .get(name)
          ?.find(
            ({ pieces }) =>
              [variable, RENAMED[variable]].includes(pieces[pieces.length - 1]) &&
              (part?.begins === undefined ||
                pieces.some((piece) => piece.startsWith(part.begins!))),
          )?.numbers,
    );
}

/** Numbers of a `.keras` file: `layers/dense_1/vars/0`. */
export const variablesByPlace =
  (numbers: ReadonlyMap<string, FileTensor>): Variables =>
  ({ group }, names, part) =>
    names.map((_, i) => {
      const path = `${part ? `${group}/${part.group}` : group}/vars/${i}`;
      return (
        numbers.get(path) ??
        numbers.get(path.replace(/^layers\//, "_layer_checkpoint_dependencies/"))
      );
    });

/** The loss of a `training_config` or `compile_config`, where it is one of ours. */
export function lossSaid(config: unknown): LossDescription | undefined {
  if (!isObject(config)) return undefined;
  const { loss } = config;
  const named = isObject(loss) ? loss : { class_name: loss };
  const name = String(named["class_name"])
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .toLowerCase();
  if (/^(mse|mean_squared_error)$/.test(name)) return { type: "meanSquaredError" };
  if (/^(mae|mean_absolute_error)$/.test(name)) return { type: "meanAbsoluteError" };
  if (/^(sparse_)?categorical_crossentropy$/.test(name)) return { type: "softmaxCrossEntropy" };
  if (name === "binary_crossentropy") return { type: "sigmoidCrossEntropy" };
  if (name !== "huber" && name !== "huber_loss") return undefined;
  const inside = isObject(named["config"]) ? named["config"]["delta"] : undefined;
  return { type: "huber", ...(typeof inside === "number" && { delta: inside }) };
}
