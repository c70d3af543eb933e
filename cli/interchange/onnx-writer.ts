import { WireType, type BinaryWriter } from "@bufbuild/protobuf/wire";
import type { ActivationName } from "../../runtime/models/layers/activations.js";
import type { Model } from "../../runtime/models/model.js";
import { networkOf, type NetworkLayer } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { blocks, permute, refuse, type FileTensor } from "./imported.js";
import { notesOf } from "./notes.js";
import { encode, NOTED } from "./onnx-file.js";
import { inputUnits, outputUnits } from "./units.js";

/** A tensor of the file, and whether its channels stand before its places or behind them. */
interface Written {
  readonly name: string;
  readonly shape: readonly number[];
  readonly order: "first" | "last";
}

type Attributes = Readonly<
  Record<
    string,
    number | string | readonly number[] | readonly string[] | { readonly float: number }
  >
>;

/** The pieces of a GraphProto as they come. */
function file() {
  const nodes: Uint8Array[] = [];
  const tensors: Uint8Array[] = [];
  let count = 0;
  const bytes = (w: BinaryWriter, field: number, value: Uint8Array) =>
    w.tag(field, WireType.LengthDelimited).bytes(value);
  const text = (w: BinaryWriter, field: number, value: string) =>
    w.tag(field, WireType.LengthDelimited).string(value);
  const int = (w: BinaryWriter, field: number, value: number) =>
    w.tag(field, WireType.Varint).int64(value);

  return {
    ...{ nodes, tensors, bytes, text, int },
    /** An operator; returns the name of its output `at`. */
    node(
      op: string,
      inputs: readonly string[],
      attributes: Attributes = {},
      outputs = 1,
    ): string[] {
      const names = Array.from({ length: outputs }, (_, i) => `${op}_${count}_${i}`);
      const label = `${op}_${count++}`;
      nodes.push(
        encode((w) => {
          for (const input of inputs) text(w, 1, input);
          for (const output of names) text(w, 2, output);
          text(w, 3, label);
          text(w, 4, op);
          for (const [name, value] of Object.entries(attributes))
            bytes(w, 5, attribute(name, value));
        }),
      );
      return names;
    },
    /** Numbers that stand in the file: float32, or whole. */
    constant(
      data: Float32Array | readonly number[],
      shape: readonly number[] = [data.length],
    ): string {
      const name = `const_${count++}`;
      const whole = !(data instanceof Float32Array);
      const raw = whole
        ? new Uint8Array(BigInt64Array.from(data, BigInt).buffer)
        : new Uint8Array(data.slice().buffer);
      tensors.push(
        encode((w) => {
          for (const size of shape) int(w, 1, size);
          int(w, 2, whole ? 7 : 1);
          text(w, 8, name);
          bytes(w, 9, raw);
        }),
      );
      return name;
    },
  };

  function attribute(name: string, value: Attributes[string]): Uint8Array {
    return encode((w) => {
      text(w, 1, name);
      if (typeof value === "number") int(int(w, 3, value), 20, 2);
      else if (typeof value === "string") int(text(w, 4, value), 20, 3);
      else if ("float" in value) {
        w.tag(2, WireType.Bit32).float(value.float);
        int(w, 20, 1);
      } else {
        for (const one of value) typeof one === "number" ? int(w, 8, one) : text(w, 9, one);
        int(w, 20, typeof value[0] === "string" ? 8 : 7);
      }
    });
  }
}

type File = ReturnType<typeof file>;

const single = (value: number) => Float32Array.of(value);

/** The operators of an activation. */
function activated(out: File, x: string, name: ActivationName): string {
  const one = (op: string, attributes?: Attributes) => out.node(op, [x], attributes)[0];
  switch (name) {
    case "relu":
      return one("Relu");
    case "relu6":
      return out.node("Clip", [x, out.constant(single(0), []), out.constant(single(6), [])])[0];
    case "leakyRelu":
      return one("LeakyRelu", { alpha: { float: 0.01 } });
    case "tanh":
      return one("Tanh");
    case "sigmoid":
      return one("Sigmoid");
    case "elu":
      return one("Elu", { alpha: { float: 1 } });
    case "hardSigmoid":
      return one("HardSigmoid", { alpha: { float: 1 / 6 }, beta: { float: 0.5 } });
    case "hardSigmoid5":
      return one("HardSigmoid", { alpha: { float: 0.2 }, beta: { float: 0.5 } });
    case "hardSwish":
      return one("HardSwish");
    case "silu":
      return out.node("Mul", [x, one("Sigmoid")])[0];
    case "gelu": {
      const [halves] = out.node("Div", [x, out.constant(single(Math.SQRT2), [])]);
      const [erf] = out.node("Erf", [halves]);
      const [cdf] = out.node("Add", [erf, out.constant(single(1), [])]);
      const [twice] = out.node("Mul", [x, cdf]);
      return out.node("Mul", [twice, out.constant(single(0.5), [])])[0];
    }
  }
}

/** What writes a layer is given. */
interface Call {
  readonly out: File;
  readonly layer: NetworkLayer;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly inputs: readonly Written[];
  readonly x: Written;
  take(name: string): FileTensor;
}

/** The tensor with its axes in this order. */
function as(out: File, x: Written, order: Written["order"]): string {
  if (x.order === order || x.shape.length === 1) return x.name;
  const rank = x.shape.length + 1;
  const places = Array.from({ length: rank - 2 }, (_, i) => i);
  const perm =
    order === "first"
      ? [0, rank - 1, ...places.map((i) => i + 1)]
      : [0, ...places.map((i) => i + 2), 1];
  return out.node("Transpose", [x.name], { perm })[0];
}

const pairOf = (call: Call): boolean => call.layer.input.length === 3;

/** Attributes of a window: of a sequence one axis only. */
function windowed(call: Call): Attributes {
  const w = call.layer.window!;
  const after = (out: number, stride: number, kernel: number, size: number, before: number) =>
    Math.max((out - 1) * stride + kernel - size - before, 0);
  const bottom = after(w.outHeight, w.strideHeight, w.kernelHeight, w.inHeight, w.padTop);
  const right = after(w.outWidth, w.strideWidth, w.kernelWidth, w.inWidth, w.padLeft);
  return pairOf(call)
    ? {
        kernel_shape: [w.kernelHeight, w.kernelWidth],
        strides: [w.strideHeight, w.strideWidth],
        pads: [w.padTop, w.padLeft, bottom, right],
      }
    : { kernel_shape: [w.kernelWidth], strides: [w.strideWidth], pads: [w.padLeft, right] };
}

type Result = readonly [name: string, order: Written["order"]];

function dense({ out, x, take }: Call): Result {
  const [kernel, bias] = [take("kernel"), take("bias")];
  const W = out.constant(kernel.data, kernel.shape);
  const b = out.constant(bias.data);
  const from = as(out, x, "last");
  if (x.shape.length === 1) return [out.node("Gemm", [from, W, b])[0], "last"];
  const [product] = out.node("MatMul", [from, W]);
  return [out.node("Add", [product, b])[0], "last"];
}

function convolution(call: Call): Result {
  const { out, layer, x, take } = call;
  const kernel = take("kernel");
  const depthwise = layer.type === "depthwiseConv2d";
  const rank = kernel.shape.length;
  const moved = permute(kernel, depthwise ? [2, 3, 0, 1] : rank === 3 ? [2, 1, 0] : [3, 2, 0, 1]);
  const [a, b, ...sizes] = moved.shape;
  const shape = depthwise ? [a * b, 1, ...sizes] : moved.shape;
  const W = out.constant(moved.data, shape);
  const attributes = { ...windowed(call), ...(depthwise && { group: a }) };
  return [
    out.node("Conv", [as(out, x, "first"), W, out.constant(take("bias").data)], attributes)[0],
    "first",
  ];
}

function transposed(call: Call): Result {
  const { out, x, take, fields } = call;
  const kernel = take("kernel");
  const moved = permute(kernel, kernel.shape.length === 3 ? [2, 1, 0] : [3, 2, 0, 1]);
  const [, , ...sizes] = moved.shape;
  const said = fields["strides"] ?? 1;
  const strides = typeof said === "number" ? sizes.map(() => said) : (said as number[]);
  const same = fields["padding"] === "same";
  const total = sizes.map((k, axis) => (same ? Math.max(k - strides[axis], 0) : 0));
  const pads = [...total.map((n) => Math.floor(n / 2)), ...total.map((n) => Math.ceil(n / 2))];
  const extra = sizes.map((k, axis) => (same ? Math.max(strides[axis] - k, 0) : 0));
  const W = out.constant(moved.data, moved.shape);
  const attributes = { kernel_shape: sizes, strides, pads, output_padding: extra };
  return [
    out.node(
      "ConvTranspose",
      [as(out, x, "first"), W, out.constant(take("bias").data)],
      attributes,
    )[0],
    "first",
  ];
}

const pool =
  (op: string) =>
  (call: Call): Result => [
    call.out.node(op, [as(call.out, call.x, "first")], windowed(call))[0],
    "first",
  ];

const globalPool =
  (op: string) =>
  ({ out, x }: Call): Result => {
    const [pooled] = out.node(op, [as(out, x, "first")]);
    return [out.node("Flatten", [pooled], { axis: 1 })[0], "last"];
  };

function groupNorm({ out, x, take, fields }: Call): Result {
  const groups = Number(fields["groups"]);
  const channels = x.shape[x.shape.length - 1];
  const from = as(out, x, "first");
  const [grouped] = out.node("Reshape", [from, out.constant([0, groups, -1])]);
  const ones = new Float32Array(groups).fill(1);
  const [normed] = out.node(
    "InstanceNormalization",
    [grouped, out.constant(ones), out.constant(new Float32Array(groups))],
    { epsilon: { float: Number(fields["epsilon"] ?? 1e-5) } },
  );
  const places = x.shape.slice(0, -1);
  const [back] = out.node("Reshape", [normed, out.constant([-1, channels, ...places])]);
  const shape = [channels, ...places.map(() => 1)];
  const [scaled] = out.node("Mul", [back, out.constant(take("gamma").data, shape)]);
  return [out.node("Add", [scaled, out.constant(take("beta").data, shape)])[0], "first"];
}

function recurrent(call: Call): Result {
  const { out, x, take, fields, layer } = call;
  const gru = layer.type === "gru";
  // ONNX has a LSTM's gates in the order i o f c.
  const order = gru ? [0, 1, 2] : [0, 3, 1, 2];
  const matrix = (name: string) => {
    const { shape, data } = permute(blocks(take(name), order), [1, 0]);
    return out.constant(data, [1, ...shape]);
  };
  const bias = blocks(take("bias"), order);
  const resetAfter = gru && fields["resetAfter"] !== false;
  const second = resetAfter
    ? blocks(take("recurrentBias"), order).data
    : new Float32Array(bias.data.length);
  const both = out.constant(Float32Array.of(...bias.data, ...second), [1, 2 * bias.data.length]);
  const named = (field: string, initial: string): string => {
    const name = fields[field] ?? initial;
    const known: Readonly<Record<string, string>> = {
      tanh: "Tanh",
      sigmoid: "Sigmoid",
      relu: "Relu",
    };
    if (typeof name === "string" && Object.hasOwn(known, name)) return known[name];
    return refuse(
      `layers[${layer.index}].${layer.type}`,
      field,
      Object.keys(known).join(", "),
      name,
    );
  };
  const [f, g] = [named("activation", "tanh"), named("recurrentActivation", "sigmoid")];
  const [steps] = out.node("Transpose", [as(out, x, "last")], { perm: [1, 0, 2] });
  const [Y, last] = out.node(
    gru ? "GRU" : "LSTM",
    [steps, matrix("kernel"), matrix("recurrentKernel"), both],
    {
      hidden_size: layer.output[layer.output.length - 1],
      activations: gru ? [g, f] : [g, f, f],
      direction: fields["reverse"] === true ? "reverse" : "forward",
      ...(gru && { linear_before_reset: resetAfter ? 1 : 0 }),
    },
    2,
  );
  if (fields["returnSequences"] !== true)
    return [out.node("Squeeze", [last, out.constant([0])])[0], "last"];
  const [squeezed] = out.node("Squeeze", [Y, out.constant([1])]);
  return [out.node("Transpose", [squeezed], { perm: [1, 0, 2] })[0], "last"];
}

/** Self-attention by its parts, which `onnx-attention.ts` reads again. */
function attention({ out, x, take, fields }: Call): Result {
  const heads = Number(fields["heads"]);
  const kernel = take("kernel");
  const [channels, all] = kernel.shape;
  const inside = all / 3;
  const size = inside / heads;
  const from = as(out, x, "last");
  const [length] = x.shape;
  const part = (i: number, perm: readonly number[]): string => {
    const own = new Float32Array(channels * inside);
    for (let row = 0; row < channels; row++)
      own.set(
        kernel.data.subarray(row * all + i * inside, row * all + (i + 1) * inside),
        row * inside,
      );
    const bias = take("bias").data.slice(i * inside, (i + 1) * inside);
    const [product] = out.node("MatMul", [from, out.constant(own, [channels, inside])]);
    const [sum] = out.node("Add", [product, out.constant(bias)]);
    const [cut] = out.node("Reshape", [sum, out.constant([0, 0, heads, size])]);
    return out.node("Transpose", [cut], { perm })[0];
  };
  const [q, k, v] = [part(0, [0, 2, 1, 3]), part(1, [0, 2, 3, 1]), part(2, [0, 2, 1, 3])];
  const root = out.constant(single(1 / Math.sqrt(size)), []);
  let [scores] = out.node("Mul", [out.node("MatMul", [q, k])[0], root]);
  if (fields["causal"] === true) {
    const mask = new Float32Array(length * length);
    mask.forEach((_, i) => (mask[i] = i % length > Math.floor(i / length) ? -1e9 : 0));
    [scores] = out.node("Add", [scores, out.constant(mask, [length, length])]);
  }
  const [weights] = out.node("Softmax", [scores], { axis: -1 });
  const [mixed] = out.node("MatMul", [weights, v]);
  const [back] = out.node("Transpose", [mixed], { perm: [0, 2, 1, 3] });
  const [rows] = out.node("Reshape", [back, out.constant([0, 0, inside])]);
  const outer = take("outputKernel");
  const [joined] = out.node("MatMul", [rows, out.constant(outer.data, outer.shape)]);
  return [out.node("Add", [joined, out.constant(take("outputBias").data)])[0], "last"];
}

function multiply({ out, inputs }: Call): Result {
  const rank = Math.max(...inputs.map(({ shape }) => shape.length));
  const names = inputs.map((x) => {
    const name = as(out, x, "last");
    if (x.shape.length === rank) return name;
    const shape = [-1, ...Array<number>(rank - 1).fill(1), x.shape[0]];
    return out.node("Reshape", [name, out.constant(shape)])[0];
  });
  return [names.reduce((a, b) => out.node("Mul", [a, b])[0]), "last"];
}

const LAYERS: Readonly<Record<string, (call: Call) => Result>> = {
  dense,
  ...{ conv1d: convolution, conv2d: convolution, depthwiseConv2d: convolution },
  ...{ conv1dTranspose: transposed, conv2dTranspose: transposed },
  ...{ maxPool: pool("MaxPool"), avgPool: pool("AveragePool") },
  ...{ globalAvgPool: globalPool("GlobalAveragePool"), globalMaxPool: globalPool("GlobalMaxPool") },
  ...{ groupNorm, multiply, gru: recurrent, lstm: recurrent, multiHeadAttention: attention },
  repeat: ({ out, x, layer }) => {
    const [row] = out.node("Unsqueeze", [x.name, out.constant([1])]);
    return [out.node("Tile", [row, out.constant([1, layer.output[0], 1])])[0], "last"];
  },
  batchNorm: ({ out, x, take, fields }) => [
    out.node(
      "BatchNormalization",
      [
        as(out, x, "first"),
        ...["gamma", "beta", "mean", "variance"].map((name) => out.constant(take(name).data)),
      ],
      {
        epsilon: { float: Number(fields["epsilon"] ?? 1e-5) },
        momentum: { float: Number(fields["momentum"] ?? 0.9) },
      },
    )[0],
    "first",
  ],
  layerNorm: ({ out, x, take, fields }) => [
    out.node(
      "LayerNormalization",
      [as(out, x, "last"), out.constant(take("gamma").data), out.constant(take("beta").data)],
      { axis: -1, epsilon: { float: Number(fields["epsilon"] ?? 1e-5) } },
    )[0],
    "last",
  ],
  flatten: ({ out, x }) => [out.node("Flatten", [as(out, x, "last")], { axis: 1 })[0], "last"],
  reshape: ({ out, x, layer }) => [
    out.node("Reshape", [as(out, x, "last"), out.constant([-1, ...layer.output])])[0],
    "last",
  ],
  add: ({ out, inputs, x }) => [
    inputs.map((one) => as(out, one, x.order)).reduce((a, b) => out.node("Add", [a, b])[0]),
    x.order,
  ],
  concat: ({ out, inputs, x }) => [
    out.node(
      "Concat",
      inputs.map((one) => as(out, one, x.order)),
      {
        axis: x.order === "first" ? 1 : x.shape.length,
      },
    )[0],
    x.order,
  ],
  upsample: ({ out, x, layer }) => {
    const scales = x.shape.slice(0, -1).map((size, axis) => layer.output[axis] / size);
    const sizes = out.constant(Float32Array.of(1, 1, ...scales));
    const mode = {
      mode: "nearest",
      coordinate_transformation_mode: "asymmetric",
      nearest_mode: "floor",
    };
    return [out.node("Resize", [as(out, x, "first"), "", sizes], mode)[0], "first"];
  },
  embedding: ({ out, x, take }) => {
    const { shape, data } = take("kernel");
    const [tokens] = out.node("Cast", [x.name], { to: 7 });
    return [out.node("Gather", [out.constant(data, shape), tokens])[0], "last"];
  },
  positionEmbedding: ({ out, x, take }) => {
    const { shape, data } = take("kernel");
    return [out.node("Add", [as(out, x, "last"), out.constant(data, [1, ...shape])])[0], "last"];
  },
  dropout: ({ x }) => [x.name, x.order],
  relu: ({ x }) => [x.name, x.order],
  activation: ({ x }) => [x.name, x.order],
};

/** y = scale x + shift on the last axis. */
function scaled(out: File, x: string, scale: readonly number[], shift: readonly number[]): string {
  const [product] = out.node("Mul", [x, out.constant(Float32Array.from(scale))]);
  return out.node("Add", [product, out.constant(Float32Array.from(shift))])[0];
}

/**
 * A model as an ONNX file of opset 17. It takes raw values, channels last, and gives logits, or
 * numbers in the target's units.
 * @throws ModelError `import` that names a layer that ONNX' operators cannot say
 */
export function writeOnnx(model: Model): Uint8Array {
  const network = networkOf(model.description);
  const { description } = model;
  const [before, after] = [inputUnits(model), outputUnits(model)];
  const out = file();
  let entrance = "input";
  if (before !== undefined)
    entrance = scaled(
      out,
      entrance,
      before.deviation.map((d) => 1 / d),
      before.mean.map((m, i) => -m / before.deviation[i]),
    );
  const input: Written = { name: entrance, shape: network.input, order: "last" };
  const written: Written[] = [];
  for (const layer of network.layers) {
    const { index, type, activation, places } = layer;
    const inputs = layer.sources.map((place) => (place < 0 ? input : written[place]));
    const write = LAYERS[type];
    if (write === undefined || !Object.hasOwn(LAYERS, type))
      return refuse(`layers[${index}]`, "type", "a layer that ONNX export knows", type);
    const take = (name: string): FileTensor => {
      const place = places.find((parameter) => parameter.name === `${index}.${name}`)!;
      return { shape: place.shape, data: parameterView(model.weights, place) };
    };
    const fields = description.layers[index] as unknown as Call["fields"];
    const [name, order] = write({ out, layer, fields, inputs, x: inputs[0], take });
    const own = activation !== undefined && !["gru", "lstm"].includes(type);
    written.push({
      name: own ? activated(out, name, activation) : name,
      shape: layer.output,
      order,
    });
  }
  const end = written[written.length - 1];
  let exit = as(out, end, "last");
  if (after !== undefined) exit = scaled(out, exit, after.deviation, after.mean);
  out.node("Identity", [exit]);
  return modelProto(out, network.input, network.output, notesOf(model));
}

function modelProto(
  out: File,
  input: readonly number[],
  output: readonly number[],
  notes: Readonly<Record<string, unknown>>,
): Uint8Array {
  const { bytes, text, int } = out;
  const value = (name: string, shape: readonly number[]) =>
    encode((w) => {
      text(w, 1, name);
      const dimensions = encode((s) => {
        bytes(
          s,
          1,
          encode((d) => text(d, 2, "batch")),
        );
        for (const size of shape)
          bytes(
            s,
            1,
            encode((d) => int(d, 1, size)),
          );
      });
      const tensor = encode((t) => bytes(int(t, 1, 1), 2, dimensions));
      bytes(
        w,
        2,
        encode((t) => bytes(t, 1, tensor)),
      );
    });
  const last = `Identity_${out.nodes.length + out.tensors.length - 1}_0`;
  const graph = encode((w) => {
    for (const node of out.nodes) bytes(w, 1, node);
    text(w, 2, "fedflat");
    for (const tensor of out.tensors) bytes(w, 5, tensor);
    bytes(w, 11, value("input", input));
    bytes(w, 12, value(last, output));
  });
  return encode((w) => {
    int(w, 1, 8);
    text(w, 2, "fedflat");
    bytes(w, 7, graph);
    bytes(
      w,
      8,
      encode((o) => int(text(o, 1, ""), 2, 17)),
    );
    for (const [key, note] of Object.entries(notes))
      bytes(
        w,
        14,
        encode((m) => text(text(m, 1, `${NOTED}${key}`), 2, JSON.stringify(note))),
      );
  });
}
