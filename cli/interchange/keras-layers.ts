import type { ActivationName } from "../../runtime/models/layers/activations.js";
import type { Model } from "../../runtime/models/model.js";
import { networkOf, type NetworkLayer } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { refuse } from "./imported.js";
import { inputUnits, outputUnits } from "./units.js";

type Json = Readonly<Record<string, unknown>>;
type Weights = Readonly<
  Record<string, { readonly shape: readonly number[]; readonly data: Float32Array }>
>;

/** Whose layers: TensorFlow.js has fewer than Keras 3, and says a few of them in older words. */
export type Dialect = "TensorFlow.js" | "Keras";

/**
 * A layer of Keras: its class, its configuration, and its numbers in the order in which it builds
 * them. Those of a layer inside of it stand behind its name: `cell/kernel`.
 */
interface Said {
  readonly type: string;
  readonly config: Json;
  readonly weights?: Weights;
  /** Arguments of its call. */
  readonly named?: Json;
  /** It reads its input so many times. */
  readonly times?: number;
}

const COMMON = { relu: "relu", relu6: "relu6", tanh: "tanh", sigmoid: "sigmoid", elu: "elu" };

const ACTIVATIONS: Readonly<Record<Dialect, Partial<Record<ActivationName, string>>>> = {
  "TensorFlow.js": { ...COMMON, hardSigmoid5: "hard_sigmoid", silu: "swish" },
  Keras: {
    ...COMMON,
    ...{ hardSigmoid: "hard_sigmoid", hardSwish: "hard_silu", silu: "silu", gelu: "gelu" },
  },
};

/** What writes a layer is given. */
interface Call {
  readonly layer: NetworkLayer;
  readonly fields: Json;
  readonly label: string;
  readonly dialect: Dialect;
  readonly inputs: readonly (readonly number[])[];
  take(name: string): Weights[string];
}

const weighted = ({ take }: Call, kernel = "kernel"): Weights => ({
  [kernel]: take("kernel"),
  bias: take("bias"),
});

/** Zeros in numbers become a layer before; the convolution itself is "valid" then. */
const paddingOf = ({ fields }: Call): string =>
  typeof fields["padding"] === "string" ? fields["padding"] : "valid";

const convolution =
  (type: string, kernel = "kernel") =>
  (call: Call): Said[] => {
    const { fields, layer, label, dialect } = call;
    const { padding, filters, kernelSize, strides = 1, multiplier = 1 } = fields;
    const pads: Said[] = [];
    if (Array.isArray(padding)) {
      if (layer.input.length === 3) pads.push({ type: "ZeroPadding2D", config: { padding } });
      else if (dialect === "Keras")
        pads.push({ type: "ZeroPadding1D", config: { padding: (padding as unknown[])[1] } });
      else
        refuse(
          label,
          "padding",
          `"valid" or "same", which TensorFlow.js knows of sequences`,
          padding,
        );
    }
    const own = kernel === "kernel" ? { filters } : { depth_multiplier: multiplier };
    const config = { ...own, kernel_size: kernelSize, strides, padding: paddingOf(call) };
    return [
      ...pads,
      { type, config: { ...config, use_bias: true }, weights: weighted(call, kernel) },
    ];
  };

const pool =
  (type: string) =>
  ({ fields, layer }: Call): Said[] => {
    const { size, strides = size, padding = "valid" } = fields;
    const dimension = layer.input.length === 3 ? "2D" : "1D";
    return [{ type: `${type}${dimension}`, config: { pool_size: size, strides, padding } }];
  };

const globalPool =
  (type: string) =>
  ({ layer }: Call): Said[] => [
    { type: `${type}${layer.input.length === 3 ? "2D" : "1D"}`, config: {} },
  ];

const recurrent =
  (type: string) =>
  (call: Call): Said[] => {
    const { fields, label, layer, take, dialect } = call;
    const resetAfter = type === "GRU" && fields["resetAfter"] !== false;
    if (resetAfter && dialect === "TensorFlow.js")
      refuse(label, "resetAfter", "false, as TensorFlow.js has it", "true");
    if (fields["reverse"] === true && fields["returnSequences"] === true)
      refuse(label, "reverse", "false where all steps are returned", "true");
    const named = (field: string, initial: ActivationName) => {
      const name = (fields[field] ?? initial) as ActivationName;
      return activationIn(dialect, label, field, name);
    };
    const config = {
      units: layer.output[layer.output.length - 1],
      activation: named("activation", "tanh"),
      recurrent_activation: named("recurrentActivation", "sigmoid"),
      ...{ use_bias: true, recurrent_initializer: { class_name: "Zeros", config: {} } },
      return_sequences: fields["returnSequences"] === true,
      go_backwards: fields["reverse"] === true,
      ...(type === "GRU" && dialect === "Keras" && { reset_after: resetAfter }),
    };
    const bias = take("bias");
    const both = () => {
      const data = Float32Array.of(...bias.data, ...take("recurrentBias").data);
      return { shape: [2, bias.data.length], data };
    };
    const weights = {
      "cell/kernel": take("kernel"),
      "cell/recurrent_kernel": take("recurrentKernel"),
      "cell/bias": resetAfter ? both() : bias,
    };
    return [{ type, config, weights }];
  };

/** Query, key and value stand side by side with us, and are [channels, heads, size] there. */
const attention = ({ fields, take, layer }: Call): Said[] => {
  const heads = Number(fields["heads"]);
  const [channels, all] = take("kernel").shape;
  const width = all / 3;
  const size = width / heads;
  const part = (i: number): Weights[string][] => {
    const [kernel, bias] = [take("kernel").data, take("bias").data];
    const own = new Float32Array(channels * width);
    for (let row = 0; row < channels; row++)
      own.set(kernel.subarray(row * all + i * width, row * all + (i + 1) * width), row * width);
    return [
      { shape: [channels, heads, size], data: own },
      { shape: [heads, size], data: bias.slice(i * width, (i + 1) * width) },
    ];
  };
  const weights: Record<string, Weights[string]> = {};
  ["query_dense", "key_dense", "value_dense"].forEach((name, i) => {
    [weights[`${name}/kernel`], weights[`${name}/bias`]] = part(i);
  });
  const { data } = take("outputKernel");
  weights["output_dense/kernel"] = { shape: [heads, size, layer.output[1]], data };
  weights["output_dense/bias"] = take("outputBias");
  const named = fields["causal"] === true ? { use_causal_mask: true } : {};
  const config = { num_heads: heads, key_dim: size, value_dim: size, use_bias: true };
  return [{ type: "MultiHeadAttention", config, weights, named, times: 2 }];
};

const LAYERS: Readonly<Record<string, (call: Call) => Said[]>> = {
  dense: (call) => [
    {
      type: "Dense",
      config: { units: call.fields["units"], use_bias: true },
      weights: weighted(call),
    },
  ],
  conv1d: convolution("Conv1D"),
  conv2d: convolution("Conv2D"),
  depthwiseConv2d: convolution("DepthwiseConv2D", "depthwise_kernel"),
  conv2dTranspose: convolution("Conv2DTranspose"),
  maxPool: pool("MaxPooling"),
  avgPool: pool("AveragePooling"),
  globalAvgPool: globalPool("GlobalAveragePooling"),
  globalMaxPool: globalPool("GlobalMaxPooling"),
  flatten: () => [{ type: "Flatten", config: {} }],
  reshape: ({ layer }) => [{ type: "Reshape", config: { target_shape: layer.output } }],
  repeat: ({ fields }) => [{ type: "RepeatVector", config: { n: fields["times"] } }],
  batchNorm: ({ fields, take }) => [
    {
      type: "BatchNormalization",
      config: {
        ...{ axis: -1, center: true, scale: true },
        ...{ epsilon: fields["epsilon"] ?? 1e-5, momentum: fields["momentum"] ?? 0.9 },
      },
      weights: {
        ...{ gamma: take("gamma"), beta: take("beta") },
        ...{ moving_mean: take("mean"), moving_variance: take("variance") },
      },
    },
  ],
  layerNorm: ({ fields, take }) => [
    {
      type: "LayerNormalization",
      config: { axis: -1, epsilon: fields["epsilon"] ?? 1e-5, center: true, scale: true },
      weights: { gamma: take("gamma"), beta: take("beta") },
    },
  ],
  embedding: ({ fields, take }) => [
    {
      type: "Embedding",
      config: { input_dim: fields["vocabulary"], output_dim: fields["units"] },
      weights: { embeddings: take("kernel") },
    },
  ],
  gru: recurrent("GRU"),
  lstm: recurrent("LSTM"),
  upsample: ({ fields, layer, label, dialect }) => {
    const { size } = fields;
    if (layer.input.length !== 3)
      return dialect === "Keras"
        ? [{ type: "UpSampling1D", config: { size } }]
        : refuse(label, "input", "an image", layer.input);
    const config = {
      size: typeof size === "number" ? [size, size] : size,
      interpolation: "nearest",
    };
    return [{ type: "UpSampling2D", config }];
  },
  add: () => [{ type: "Add", config: {} }],
  multiply: () => [{ type: "Multiply", config: {} }],
  concat: () => [{ type: "Concatenate", config: { axis: -1 } }],
  ...{ dropout: () => [], relu: () => [], activation: () => [] },
};

/** Layers that Keras 3 has and TensorFlow.js has not. */
const KERAS_ONLY: typeof LAYERS = {
  conv1dTranspose: convolution("Conv1DTranspose"),
  groupNorm: ({ fields, take }) => [
    {
      type: "GroupNormalization",
      config: { groups: fields["groups"], axis: -1, epsilon: fields["epsilon"] ?? 1e-5 },
      weights: { gamma: take("gamma"), beta: take("beta") },
    },
  ],
  multiHeadAttention: attention,
};

function activationIn(
  dialect: Dialect,
  label: string,
  field: string,
  name: ActivationName,
): string {
  const known = ACTIVATIONS[dialect];
  return known[name] ?? refuse(label, field, Object.keys(known).join(", "), name);
}

function activated({ label, dialect }: Call, name: ActivationName): Said {
  if (name === "leakyRelu")
    return {
      type: "LeakyReLU",
      config: dialect === "Keras" ? { negative_slope: 0.01 } : { alpha: 0.01 },
    };
  return {
    type: "Activation",
    config: { activation: activationIn(dialect, label, "activation", name) },
  };
}

/** gamma (x - mean) / sqrt(variance) + beta per channel. */
function scaled({
  gamma,
  beta,
  mean,
  variance,
}: Readonly<Record<string, readonly number[]>>): Said {
  const vector = (list: readonly number[]) => ({
    shape: [list.length],
    data: Float32Array.from(list),
  });
  return {
    type: "BatchNormalization",
    config: { axis: -1, epsilon: 1e-12, center: true, scale: true },
    weights: {
      ...{ gamma: vector(gamma), beta: vector(beta) },
      ...{ moving_mean: vector(mean), moving_variance: vector(variance) },
    },
  };
}

/** A row of channels that weighs all places, with as many axes as these. */
function asWide(
  { inputs }: Call,
  name: string,
  i: number,
  put: (said: Said, inputs: readonly string[]) => string,
): string {
  const missing = Math.max(...inputs.map(({ length }) => length)) - inputs[i].length;
  if (missing === 0) return name;
  const shape = [...Array<number>(missing).fill(1), ...inputs[i]];
  return put({ type: "Reshape", config: { target_shape: shape } }, [name]);
}

/** A layer at its place in the network. */
export interface PlacedLayer extends Said {
  readonly name: string;
  /** Names of the layers that it reads. */
  readonly inputs: readonly string[];
}

/** A network in Keras' words. */
export interface SaidNetwork {
  readonly layers: readonly PlacedLayer[];
  /** The name of the input, and that of the layer whose output is the network's. */
  readonly input: string;
  readonly output: string;
}

/**
 * A model as layers of Keras behind an input. It takes raw values and gives logits, or numbers in
 * the target's units.
 * @throws ModelError `import` that names a layer that the program does not have
 */
export function sayNetwork(model: Model, dialect: Dialect): SaidNetwork {
  const network = networkOf(model.description);
  const { description } = model;
  const layers: PlacedLayer[] = [];
  const put = (said: Said, inputs: readonly string[]): string => {
    const name = `layer_${layers.length + 1}`;
    layers.push({ ...said, name, inputs });
    return name;
  };
  const input = "input";
  let entrance = input;
  const [before, after] = [inputUnits(model), outputUnits(model)];
  const all = (value: number, { length }: readonly number[]) => Array<number>(length).fill(value);
  if (before !== undefined) {
    const { mean, deviation } = before;
    const variance = deviation.map((d) => d * d);
    const identity = { gamma: all(1, mean), beta: all(0, mean) };
    entrance = put(scaled({ ...identity, mean, variance }), [input]);
  }
  const written: string[] = [];
  for (const layer of network.layers) {
    const { index, type, activation, places } = layer;
    const known = dialect === "Keras" ? { ...LAYERS, ...KERAS_ONLY } : LAYERS;
    if (!Object.hasOwn(known, type))
      return refuse(`layers[${index}]`, "type", `a layer that ${dialect} has`, type);
    const call: Call = {
      ...{ layer, dialect, label: `layers[${index}].${type}` },
      fields: description.layers[index] as unknown as Json,
      inputs: layer.sources.map((at) => (at < 0 ? network.input : network.layers[at].output)),
      take(name) {
        const place = places.find((parameter) => parameter.name === `${index}.${name}`)!;
        return { shape: place.shape, data: parameterView(model.weights, place) };
      },
    };
    let from = layer.sources.map((place) => (place < 0 ? entrance : written[place]));
    if (type === "multiply") from = from.map((name, i) => asWide(call, name, i, put));
    const said = known[type](call);
    if (activation !== undefined && !["gru", "lstm"].includes(type))
      said.push(activated(call, activation));
    for (const one of said) from = [put(one, from)];
    written.push(from[0]);
  }
  let output = written[written.length - 1];
  if (after !== undefined) {
    const { mean: beta, deviation: gamma } = after;
    output = put(scaled({ gamma, beta, mean: all(0, beta), variance: all(1, beta) }), [output]);
  }
  return { layers, input, output };
}
