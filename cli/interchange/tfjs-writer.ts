import type { ActivationName } from "../../runtime/models/layers/activations.js";
import type { Model } from "../../runtime/models/model.js";
import { networkOf, type NetworkLayer } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { refuse } from "./imported.js";

type Json = Readonly<Record<string, unknown>>;
type Weights = Readonly<
  Record<string, { readonly shape: readonly number[]; readonly data: Float32Array }>
>;

/** A layer of TensorFlow.js: its class, its configuration and its numbers in their order. */
interface Said {
  readonly type: string;
  readonly config: Json;
  readonly weights?: Weights;
}

const ACTIVATIONS: Partial<Record<ActivationName, string>> = {
  ...{ relu: "relu", relu6: "relu6", tanh: "tanh", sigmoid: "sigmoid", elu: "elu" },
  ...{ hardSigmoid5: "hard_sigmoid", silu: "swish" },
};

/** What writes a layer is given. */
interface Call {
  readonly layer: NetworkLayer;
  readonly fields: Json;
  readonly label: string;
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
    const { fields, layer, label } = call;
    const { padding, filters, kernelSize, strides = 1, multiplier = 1 } = fields;
    const pads: Said[] = Array.isArray(padding)
      ? layer.input.length === 3
        ? [{ type: "ZeroPadding2D", config: { padding } }]
        : refuse(
            label,
            "padding",
            `"valid" or "same", which TensorFlow.js knows of sequences`,
            padding,
          )
      : [];
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
    const { fields, label, layer, take } = call;
    if (type === "GRU" && fields["resetAfter"] !== false)
      refuse(label, "resetAfter", "false, as TensorFlow.js has it", "true");
    if (fields["reverse"] === true && fields["returnSequences"] === true)
      refuse(label, "reverse", "false where all steps are returned", "true");
    const named = (field: string, initial: ActivationName) => {
      const name = (fields[field] ?? initial) as ActivationName;
      return ACTIVATIONS[name] ?? refuse(label, field, Object.keys(ACTIVATIONS).join(", "), name);
    };
    const config = {
      units: layer.output[layer.output.length - 1],
      activation: named("activation", "tanh"),
      recurrent_activation: named("recurrentActivation", "sigmoid"),
      ...{ use_bias: true, recurrent_initializer: { class_name: "Zeros", config: {} } },
      return_sequences: fields["returnSequences"] === true,
      go_backwards: fields["reverse"] === true,
    };
    const weights = {
      ...{ kernel: take("kernel"), recurrent_kernel: take("recurrentKernel"), bias: take("bias") },
    };
    return [{ type, config, weights }];
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
  upsample: ({ fields, layer, label }) => {
    const { size } = fields;
    if (layer.input.length !== 3) return refuse(label, "input", "an image", layer.input);
    const config = {
      size: typeof size === "number" ? [size, size] : size,
      interpolation: "nearest",
    };
    return [{ type: "UpSampling2D", config }];
  },
  add: () => [{ type: "Add", config: {} }],
  concat: () => [{ type: "Concatenate", config: { axis: -1 } }],
  ...{ dropout: () => [], relu: () => [], activation: () => [] },
};

function activated(label: string, name: ActivationName): Said {
  if (name === "leakyRelu") return { type: "LeakyReLU", config: { alpha: 0.01 } };
  const activation =
    ACTIVATIONS[name] ?? refuse(label, "activation", Object.keys(ACTIVATIONS).join(", "), name);
  return { type: "Activation", config: { activation } };
}

/** gamma x + beta per channel, (x - mean) / deviation before. */
function scaled(
  numbers: Readonly<Record<"gamma" | "beta" | "mean" | "deviation", readonly number[]>>,
  channels: number,
): Said {
  const vector = (list: readonly number[], power = 1) => ({
    shape: [channels],
    data: Float32Array.from({ length: channels }, (_, i) => list[i % list.length] ** power),
  });
  return {
    type: "BatchNormalization",
    config: { axis: -1, epsilon: 1e-12, center: true, scale: true },
    weights: {
      ...{ gamma: vector(numbers.gamma), beta: vector(numbers.beta) },
      ...{ moving_mean: vector(numbers.mean), moving_variance: vector(numbers.deviation, 2) },
    },
  };
}

/** The files of a layers-model. */
export interface TfjsFiles {
  readonly "model.json": string;
  readonly "weights.bin": Uint8Array;
}

/**
 * A model as a layers-model of TensorFlow.js. It takes raw values and gives logits, or numbers in
 * the target's units.
 * @throws ModelError `import` that names a layer that TensorFlow.js does not have
 */
export function writeTfjs(model: Model): TfjsFiles {
  const network = networkOf(model.description);
  const { normalisation, targets, description } = model;
  const layers: Json[] = [];
  const specs: Json[] = [];
  const numbers: Float32Array[] = [];
  const put = ({ type, config, weights = {} }: Said, inputs: readonly string[]): string => {
    const name = `layer_${layers.length}`;
    const inbound = inputs.map((input) => [input, 0, 0, {}]);
    layers.push({ name, class_name: type, config: { name, ...config }, inbound_nodes: [inbound] });
    for (const [variable, { shape, data }] of Object.entries(weights)) {
      specs.push({ name: `${name}/${variable}`, shape, dtype: "float32" });
      numbers.push(data);
    }
    return name;
  };
  const input = "input";
  layers.push({
    ...{ name: input, class_name: "InputLayer", inbound_nodes: [] },
    config: { name: input, batch_input_shape: [null, ...network.input], dtype: "float32" },
  });
  let entrance = input;
  const channels = network.input[network.input.length - 1];
  if (normalisation !== undefined) {
    const { scale, mean, deviation } = normalisation;
    const each = (list: readonly number[]) => list.map((value) => value * scale);
    entrance = put(
      scaled({ gamma: [1], beta: [0], mean: each(mean), deviation: each(deviation) }, channels),
      [input],
    );
  }
  const written: string[] = [];
  for (const layer of network.layers) {
    const { index, type, activation, places } = layer;
    const label = `layers[${index}].${type}`;
    const say = LAYERS[type];
    if (say === undefined || !Object.hasOwn(LAYERS, type))
      return refuse(`layers[${index}]`, "type", "a layer that TensorFlow.js has", type);
    const take = (name: string) => {
      const place = places.find((parameter) => parameter.name === `${index}.${name}`)!;
      return { shape: place.shape, data: parameterView(model.weights, place) };
    };
    const fields = description.layers[index] as unknown as Json;
    const said = say({ layer, fields, label, take });
    if (activation !== undefined && !["gru", "lstm"].includes(type))
      said.push(activated(label, activation));
    let from = layer.sources.map((place) => (place < 0 ? entrance : written[place]));
    for (const one of said) from = [put(one, from)];
    written.push(from[0]);
  }
  let exit = written[written.length - 1];
  if (targets !== undefined)
    exit = put(
      scaled(
        { gamma: targets.deviation, beta: targets.mean, mean: [0], deviation: [1] },
        network.classes,
      ),
      [exit],
    );
  const config = {
    name: "fedflat",
    layers,
    input_layers: [[input, 0, 0]],
    output_layers: [[exit, 0, 0]],
  };
  const json = {
    format: "layers-model",
    generatedBy: "fedflat",
    modelTopology: {
      class_name: "Model",
      config,
      keras_version: "tfjs-layers 4.22.0",
      backend: "tensor_flow.js",
    },
    weightsManifest: [{ paths: ["weights.bin"], weights: specs }],
    userDefinedMetadata: { loss: description.loss ?? { type: "softmaxCrossEntropy" } },
  };
  const bytes = numbers.map(
    ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  );
  return { "model.json": `${JSON.stringify(json)}\n`, "weights.bin": Buffer.concat(bytes) };
}
