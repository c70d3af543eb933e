import type { ActivationName } from "../../runtime/models/layers/activations.js";
import { modelMetadata, type Model } from "../../runtime/models/model.js";
import { networkOf, type NetworkLayer } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { writeSafetensors } from "../../runtime/tensors/safetensors.js";
import { elements } from "../../runtime/tensors/shape.js";
import { blocks, permute, refuse, type FileTensor } from "./imported.js";
import { flattened } from "./torch.js";
import { inputUnits, outputUnits } from "./units.js";

/** What writes a layer is given. */
interface Call {
  readonly layer: NetworkLayer;
  readonly label: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** `self[3]`, its module. */
  readonly module: string;
  /** Variables of its inputs, channels last, and their shapes. */
  readonly inputs: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  readonly x: string;
  /** The image whose channels a flattened row has first, as PyTorch counts it. */
  readonly image?: readonly number[];
  take(name: string): FileTensor;
}

/** A layer in PyTorch: the module that holds its numbers, and what is computed with it. */
interface Written {
  readonly module?: string;
  readonly tensors?: Readonly<Record<string, FileTensor>>;
  readonly y: string;
}

/** Numbers as Python writes them: one, or a tuple. */
const tuple = (sizes: readonly number[]): string =>
  sizes.length === 1 ? String(sizes[0]) : `(${sizes.join(", ")})`;

const weighted = (weight: FileTensor, { take }: Call) => ({ weight, bias: take("bias") });

/** Zeros, or other numbers, around the places of `x`, channels first. */
function padded({ layer }: Call, x: string, value?: string): string {
  const w = layer.window!;
  const behind = (outputs: number, stride: number, kernel: number, size: number, before: number) =>
    Math.max((outputs - 1) * stride + kernel - size - before, 0);
  const sides = [w.padLeft, behind(w.outWidth, w.strideWidth, w.kernelWidth, w.inWidth, w.padLeft)];
  if (layer.input.length === 3)
    sides.push(w.padTop, behind(w.outHeight, w.strideHeight, w.kernelHeight, w.inHeight, w.padTop));
  if (sides.every((n) => n === 0)) return x;
  return `F.pad(${x}, (${sides.join(", ")})${value === undefined ? "" : `, value=${value}`})`;
}

/** A window's sizes and steps, one axis of a sequence, two of an image. */
function windowOf({ layer }: Call) {
  const w = layer.window!;
  const image = layer.input.length === 3;
  return {
    size: image ? [w.kernelHeight, w.kernelWidth] : [w.kernelWidth],
    strides: image ? [w.strideHeight, w.strideWidth] : [w.strideWidth],
  };
}

function convolution(call: Call): Written {
  const { layer, take, module, x } = call;
  const kernel = take("kernel");
  const { size, strides } = windowOf(call);
  const channels = layer.input[layer.input.length - 1];
  const depthwise = layer.type === "depthwiseConv2d";
  const moved = permute(
    kernel,
    depthwise ? [2, 3, 0, 1] : size.length === 1 ? [2, 1, 0] : [3, 2, 0, 1],
  );
  const filters = layer.output[layer.output.length - 1];
  const weight = { shape: [filters, depthwise ? 1 : channels, ...size], data: moved.data };
  const groups = depthwise ? `, groups=${channels}` : "";
  return {
    module: `nn.Conv${size.length}d(${channels}, ${filters}, ${tuple(size)}, stride=${tuple(strides)}${groups})`,
    tensors: weighted(weight, call),
    y: `last(${module}(${padded(call, `first(${x})`)}))`,
  };
}

function transposed(call: Call): Written {
  const { layer, take, module, x, fields } = call;
  const kernel = take("kernel");
  const axes = kernel.shape.length - 2;
  const [filters, channels] = kernel.shape.slice(axes);
  const size = kernel.shape.slice(0, axes);
  const said = fields["strides"] ?? 1;
  const strides = size.map((_, axis) =>
    typeof said === "number" ? said : (said as number[])[axis],
  );
  const same = fields["padding"] === "same";
  // PyTorch's own padding cuts off as much on both sides.
  const extra = size.map((k, axis) => (same ? Math.max(strides[axis] - k, 0) : 0));
  const cut = size.map((k, axis) => {
    const before = same ? Math.floor(Math.max(k - strides[axis], 0) / 2) : 0;
    return `${before}:${before + layer.output[axis]}`;
  });
  return {
    module: `nn.ConvTranspose${axes}d(${channels}, ${filters}, ${tuple(size)}, stride=${tuple(strides)}, output_padding=${tuple(extra)})`,
    tensors: weighted(permute(kernel, axes === 1 ? [2, 1, 0] : [3, 2, 0, 1]), call),
    y: `last(${module}(first(${x}))[:, :, ${cut.join(", ")}])`,
  };
}

function maxPool(call: Call): Written {
  const { size, strides } = windowOf(call);
  const x = padded(call, `first(${call.x})`, "-math.inf");
  return { y: `last(F.max_pool${size.length}d(${x}, ${tuple(size)}, ${tuple(strides)}))` };
}

/** Places outside do not count: the mean over those inside. */
function avgPool(call: Call): Written {
  const { size, strides } = windowOf(call);
  const mean = (x: string) => `F.avg_pool${size.length}d(${x}, ${tuple(size)}, ${tuple(strides)})`;
  const x = `first(${call.x})`;
  const around = padded(call, x);
  if (around === x) return { y: `last(${mean(x)})` };
  return { y: `last(${mean(around)} / ${mean(padded(call, `torch.ones_like(${x})`))})` };
}

const norm =
  (module: (call: Call, channels: number, epsilon: string) => string, y: (call: Call) => string) =>
  (call: Call): Written => {
    const [gamma, beta] = [call.take("gamma"), call.take("beta")];
    const epsilon = `eps=${Number(call.fields["epsilon"] ?? 1e-5)}`;
    return {
      module: module(call, gamma.data.length, epsilon),
      tensors: { weight: gamma, bias: beta },
      y: y(call),
    };
  };

function recurrent(call: Call): Written {
  const { layer, label, take, fields, module, x } = call;
  const gru = layer.type === "gru";
  if (gru && fields["resetAfter"] === false)
    refuse(label, "resetAfter", "true, as PyTorch has it", false);
  const usual = { activation: "tanh", recurrentActivation: "sigmoid" };
  for (const [field, name] of Object.entries(usual))
    if ((fields[field] ?? name) !== name)
      refuse(label, field, `${name}, as PyTorch has it`, fields[field]);
  // PyTorch has a GRU's gates r z n, we have z r n.
  const order = gru ? [1, 0, 2] : [0, 1, 2, 3];
  const matrix = (name: string) => permute(blocks(take(name), order), [1, 0]);
  const bias = blocks(take("bias"), order);
  const second = gru
    ? blocks(take("recurrentBias"), order)
    : { shape: bias.shape, data: new Float32Array(bias.data.length) };
  const [inputs, units] = [layer.input[1], layer.output[layer.output.length - 1]];
  const reverse = fields["reverse"] === true;
  const steps = `${module}(${x}${reverse ? ".flip(1)" : ""})[0]`;
  return {
    module: `nn.${gru ? "GRU" : "LSTM"}(${inputs}, ${units}, batch_first=True)`,
    tensors: {
      ...{ weight_ih_l0: matrix("kernel"), weight_hh_l0: matrix("recurrentKernel") },
      ...{ bias_ih_l0: bias, bias_hh_l0: second },
    },
    y: fields["returnSequences"] === true ? steps + (reverse ? ".flip(1)" : "") : `${steps}[:, -1]`,
  };
}

function attention({ layer, label, take, fields, module, x }: Call): Written {
  const heads = Number(fields["heads"]);
  const [length, channels] = layer.input;
  const outputKernel = take("outputKernel");
  const inside = outputKernel.shape[0];
  if (inside !== channels)
    refuse(label, "keySize", `${channels} / ${heads}, as PyTorch has it`, inside / heads);
  const mask = `attn_mask=torch.ones(${length}, ${length}, dtype=torch.bool, device=${x}.device).triu(1), `;
  return {
    module: `nn.MultiheadAttention(${channels}, ${heads}, batch_first=True)`,
    tensors: {
      ...{ in_proj_weight: permute(take("kernel"), [1, 0]), in_proj_bias: take("bias") },
      "out_proj.weight": permute(outputKernel, [1, 0]),
      "out_proj.bias": take("outputBias"),
    },
    y: `${module}(${x}, ${x}, ${x}, ${fields["causal"] === true ? mask : ""}need_weights=False)[0]`,
  };
}

function dense(call: Call): Written {
  const { take, module, x, image } = call;
  let kernel = take("kernel");
  const [inputs, units] = kernel.shape;
  if (image !== undefined) {
    const channels = image[image.length - 1];
    const places = elements(image) / channels;
    const { data } = permute({ shape: [places, channels, units], data: kernel.data }, [1, 0, 2]);
    kernel = { shape: [inputs, units], data };
  }
  return {
    module: `nn.Linear(${inputs}, ${units})`,
    tensors: weighted(permute(kernel, [1, 0]), call),
    y: `${module}(${x})`,
  };
}

const table =
  (name: "vocabulary" | "places", y: (call: Call) => string) =>
  (call: Call): Written => {
    const kernel = call.take("kernel");
    return {
      module: `nn.Embedding(${kernel.shape.join(", ")})${name === "places" ? "  # a row for each place" : ""}`,
      tensors: { weight: kernel },
      y: y(call),
    };
  };

const unchanged = ({ x }: Call): Written => ({ y: x });

const LAYERS: Readonly<Record<string, (call: Call) => Written>> = {
  ...{ dense, conv1d: convolution, conv2d: convolution, depthwiseConv2d: convolution },
  ...{ conv1dTranspose: transposed, conv2dTranspose: transposed, maxPool, avgPool },
  ...{ gru: recurrent, lstm: recurrent, multiHeadAttention: attention },
  globalAvgPool: ({ x }) => ({ y: `${x}.flatten(1, -2).mean(1)` }),
  globalMaxPool: ({ x }) => ({ y: `${x}.flatten(1, -2).amax(1)` }),
  groupNorm: norm(
    ({ fields }, channels, epsilon) =>
      `nn.GroupNorm(${Number(fields["groups"])}, ${channels}, ${epsilon})`,
    ({ module, x }) => `last(${module}(first(${x})))`,
  ),
  layerNorm: norm(
    (_, channels, epsilon) => `nn.LayerNorm(${channels}, ${epsilon})`,
    ({ module, x }) => `${module}(${x})`,
  ),
  embedding: table("vocabulary", ({ module, x }) => `${module}(${x}.long())`),
  positionEmbedding: table("places", ({ module, x }) => `${x} + ${module}.weight`),
  flatten: ({ x, image }) => ({
    y: image === undefined ? `${x}.flatten(1)` : `first(${x}).flatten(1)`,
  }),
  reshape: ({ x, layer }) => ({ y: `${x}.reshape(-1, ${layer.output.join(", ")})` }),
  repeat: ({ x, layer }) => ({ y: `${x}[:, None].repeat(1, ${layer.output[0]}, 1)` }),
  upsample: ({ x, layer }) => ({
    y: layer.input.slice(0, -1).reduce((y, size, axis) => {
      const times = layer.output[axis] / size;
      return times === 1 ? y : `${y}.repeat_interleave(${times}, ${axis + 1})`;
    }, x),
  }),
  add: ({ inputs }) => ({ y: inputs.join(" + ") }),
  multiply: ({ inputs, shapes }) => {
    const rank = Math.max(...shapes.map(({ length }) => length));
    const wide = (x: string, i: number) =>
      shapes[i].length === rank ? x : `${x}[:, ${"None, ".repeat(rank - 1)}:]`;
    return { y: inputs.map(wide).join(" * ") };
  },
  concat: ({ inputs }) => ({ y: `torch.cat((${inputs.join(", ")}), -1)` }),
  ...{ dropout: unchanged, relu: unchanged, activation: unchanged },
};

const ACTIVATIONS: Readonly<Record<ActivationName, (x: string) => string>> = {
  relu: (x) => `torch.relu(${x})`,
  relu6: (x) => `F.relu6(${x})`,
  leakyRelu: (x) => `F.leaky_relu(${x}, 0.01)`,
  tanh: (x) => `torch.tanh(${x})`,
  sigmoid: (x) => `torch.sigmoid(${x})`,
  elu: (x) => `F.elu(${x})`,
  hardSigmoid: (x) => `F.hardsigmoid(${x})`,
  hardSigmoid5: (x) => `torch.clamp((${x}) / 5 + 0.5, 0, 1)`,
  hardSwish: (x) => `F.hardswish(${x})`,
  silu: (x) => `F.silu(${x})`,
  gelu: (x) => `F.gelu(${x})`,
};

/** The files of a state_dict and its network. */
export interface TorchFiles {
  readonly "model.safetensors": Uint8Array;
  readonly "model.py": string;
  /** The card, for `fedflat import --description`. */
  readonly "description.json": string;
}

/**
 * A model as a state_dict of PyTorch, with a module that loads it. That takes raw values, channels
 * last, and gives logits, or numbers in the target's units.
 * @throws ModelError `import` that names a layer that PyTorch does not have
 */
export function writeTorch(model: Model): TorchFiles {
  const { layers, input } = networkOf(model.description);
  const { description } = model;
  const [before, after] = [inputUnits(model), outputUnits(model)];
  const { rows, images } = flattened(layers);
  const modules = description.layers.map(() => "nn.Identity()");
  const tensors: { name: string; shape: readonly number[]; data: Float32Array }[] = [];
  const lines: string[] = [];
  if (before !== undefined) lines.push(`x = (x - ${row(before.mean)}) / ${row(before.deviation)}`);
  layers.forEach((layer, place) => {
    const { index, type, activation, places, sources } = layer;
    const label = `layers[${index}].${type}`;
    if (!Object.hasOwn(LAYERS, type))
      return refuse(`layers[${index}]`, "type", "a layer that PyTorch has", type);
    const inputs = sources.map((at) => (at < 0 ? "x" : `y${layers[at].index}`));
    const written = LAYERS[type]({
      ...{ layer, label, module: `self[${index}]`, inputs, x: inputs[0] },
      fields: description.layers[index] as unknown as Call["fields"],
      shapes: sources.map((at) => (at < 0 ? input : layers[at].output)),
      image: type === "flatten" ? images.get(place) : rows.get(index),
      take(name) {
        const { shape, ...parameter } = places.find((one) => one.name === `${index}.${name}`)!;
        return { shape, data: parameterView(model.weights, { shape, ...parameter }) };
      },
    });
    if (written.module !== undefined) modules[index] = written.module;
    for (const [name, tensor] of Object.entries(written.tensors ?? {}))
      tensors.push({ name: `${index}.${name}`, ...tensor });
    const own = activation !== undefined && !["gru", "lstm"].includes(type);
    lines.push(`y${index} = ${own ? ACTIVATIONS[activation](written.y) : written.y}`);
  });
  const y = `y${layers[layers.length - 1].index}`;
  lines.push(
    `return ${after === undefined ? y : `${y} * ${row(after.deviation)} + ${row(after.mean)}`}`,
  );
  return {
    "model.safetensors": writeSafetensors(tensors),
    "model.py": text(modules, lines, input),
    "description.json": `${JSON.stringify(JSON.parse(modelMetadata(model)["model"]), null, 2)}\n`,
  };
}

const row = (numbers: readonly number[]): string =>
  numbers.every((one) => one === numbers[0])
    ? String(numbers[0])
    : `torch.tensor([${numbers.join(", ")}], device=x.device)`;

/** The module of Python. */
const text = (
  modules: readonly string[],
  lines: readonly string[],
  input: readonly number[],
): string => `"""The network of model.safetensors, written by fedflat: load() gives it with its weights.

It takes raw values of shape (batch, ${input.join(", ")}), channels last, as float32.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn


def first(x):
    """Channels before places, as PyTorch has them."""
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


class Network(nn.ModuleList):
    def __init__(self):
        super().__init__([
${modules.map((module) => `            ${module.replace(/(  #.*)?$/, ",$1")}`).join("\n")}
        ])

    def forward(self, x):
${lines.map((line) => `        ${line}`).join("\n")}


def load(path=pathlib.Path(__file__).with_name("model.safetensors")):
    data = bytearray(pathlib.Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    network = Network()
    state = network.state_dict()
    for name, tensor in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in tensor["data_offsets"])
            numbers = torch.frombuffer(data, dtype=torch.float32, count=(end - begin) // 4, offset=begin)
            state[name] = numbers.reshape(tensor["shape"]).clone()
    network.load_state_dict(state)
    return network.eval()
`;
