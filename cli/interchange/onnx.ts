import type { ActivationName } from "../../runtime/models/layers/activations.js";
import { elements } from "../../runtime/tensors/shape.js";
import { graph, type Fields, type Graph, type Pads, type Value } from "./graph.js";
import {
  blocks,
  permute,
  refuse,
  type Imported,
  type ImportOptions,
  type FileTensor,
} from "./imported.js";
import { ATTENTION, withAttention } from "./onnx-attention.js";
import { readNotes } from "./notes.js";
import { NOTED, readOnnxFile, type OnnxNode, type OnnxTensor } from "./onnx-file.js";

/**
 * How ONNX orders the axes of a value that lies channels-last with us: [B, C, places ..], [B,
 * places .., C], or [T, B, C] of recurrent layers, [T, directions, B, u] of what they give, and
 * [directions, B, u].
 */
type Order = "first" | "last" | "time" | "steps" | "final";

/** Half of a form of several operators, such as x - mean(x): only the rest of the form may read it. */
interface Piece {
  readonly part:
    | "mean"
    | "centred"
    | "square"
    | "variance"
    | "sigma"
    | "erf"
    | "cdf"
    | "twice"
    | "grouped"
    | "halves";
  readonly of: Tensor;
  readonly number?: number;
}

interface Tensor {
  readonly value: Value;
  readonly order: Order;
}

/** What a name stands for: a tensor of the network, numbers, part of a form, or its sizes. */
type Entry = Tensor | OnnxTensor | Piece;

const isTensor = (entry: Entry | undefined): entry is Tensor =>
  entry !== undefined && "value" in entry;
const isConstant = (entry: Entry | undefined): entry is OnnxTensor =>
  entry !== undefined && "data" in entry;
const isPart = (entry: Entry | undefined): entry is Piece => entry !== undefined && "part" in entry;

const ACTIVATIONS: Readonly<Record<string, ActivationName>> = {
  ...{ Relu: "relu", Tanh: "tanh", Sigmoid: "sigmoid", HardSwish: "hardSwish" },
};

/** One node: its inputs and attributes, read with checks. */
function reader(node: OnnxNode, opset: number, entries: ReadonlyMap<string, Entry>) {
  const { label, attributes, inputs } = node;
  const entry = (i: number) => (inputs[i] ? entries.get(inputs[i]) : undefined);
  const tensor = (i: number): Tensor => {
    const found = entry(i);
    if (isTensor(found)) return found;
    return refuse(
      label,
      `input ${i}`,
      "a tensor that the network computes",
      isPart(found)
        ? `part of another operator (${found.part})`
        : found
          ? "numbers of the file"
          : `"${inputs[i] ?? ""}", which is none`,
    );
  };
  const optional = (i: number): OnnxTensor | undefined => {
    const found = entry(i);
    if (found === undefined || isConstant(found)) return found;
    return refuse(label, `input ${i}`, "numbers that stand in the file", "computed ones");
  };
  const constant = (i: number): OnnxTensor =>
    optional(i) ?? refuse(label, `input ${i}`, "numbers that stand in the file", "none");
  const numbers = (i: number): FileTensor => {
    const { shape, data } = constant(i);
    return { shape, data: data instanceof Float32Array ? data : Float32Array.from(data, Number) };
  };
  const list = (values: readonly unknown[]): number[] => values.map((value) => Number(value));
  return {
    ...{ label, opset, entry, tensor, optional, constant, numbers },
    op: node.op,
    has: (i: number) => !!inputs[i],
    float: (name: string, initial: number): number => {
      const value = attributes[name] ?? initial;
      return typeof value === "number" || typeof value === "bigint"
        ? Number(value)
        : refuse(label, name, "a number", value);
    },
    text: (name: string, initial: string): string => {
      const value = attributes[name] ?? initial;
      return typeof value === "string" ? value : refuse(label, name, "a text", value);
    },
    integers: (name: string): number[] | undefined => {
      const value = attributes[name];
      if (value === undefined) return undefined;
      return Array.isArray(value) ? list(value) : refuse(label, name, "whole numbers", value);
    },
    attribute: (name: string) => attributes[name],
    /** Whole numbers that older opsets have as an attribute and newer ones as an input. */
    sizes(name: string, i: number): number[] | undefined {
      const value = attributes[name];
      if (Array.isArray(value)) return list(value);
      const found = optional(i);
      return found && list([...found.data]);
    },
  };
}

type Reader = ReturnType<typeof reader>;

/**
 * Reads an ONNX model of opsets 6 to 21.
 * @param given numbers of inputs that are weights, as in ONNX' own tests
 * @throws ModelError `import` that names node, attribute and value
 */
export function readOnnx(
  bytes: Uint8Array,
  options: ImportOptions = {},
  given: ReadonlyMap<string, OnnxTensor> = new Map(),
): Imported {
  const file = readOnnxFile(bytes);
  const nodes = withAttention(file.nodes, file.tensors);
  const entries = new Map<string, Entry>([...file.tensors, ...given]);
  const inputs = file.inputs.filter(({ name }) => !entries.has(name));
  const weights = inputs.filter(({ name }) => nodes.some((node) => readsAsWeight(node, name)));
  if (weights.length > 0)
    refuse(
      "file",
      "inputs",
      "weights inside the file, as initializers",
      `inputs for them: ${weights.map(({ name }) => name).join(", ")}`,
    );
  if (inputs.length !== 1)
    refuse("file", "inputs", "one input", inputs.map(({ name }) => name).join(", ") || "none");
  if (file.outputs.length === 0) refuse("file", "outputs", "one output", "none");
  const [{ name, shape }] = inputs;
  if (shape === undefined) return refuse(name, "shape", "the sizes of the input", "none");
  const order = orderOf(name, shape, nodes);
  const sizes = order === "time" ? [shape[0], shape[2]] : shape.slice(1);
  if (sizes.some((size) => size === 0))
    refuse(
      name,
      "shape",
      "a number for each axis but the batch's",
      shape.map((size) => size || "?").join(" x "),
    );
  const own = order === "first" && sizes.length > 1 ? [...sizes.slice(1), sizes[0]] : sizes;
  const network = graph(own.length === 0 ? [1] : own, options);
  entries.set(name, { value: network.input, order });
  for (const node of nodes) {
    const read = reader(node, file.opset, entries);
    const operator = OPERATORS[node.op];
    if (operator === undefined || !Object.hasOwn(OPERATORS, node.op))
      refuse(read.label, "", `an operator among those of docs/interchange.md`, node.op);
    const results = operator(network, read);
    node.outputs.forEach((output, i) => {
      if (output !== "" && results[i] !== undefined) entries.set(output, results[i]);
    });
  }
  const [output, ...others] = file.outputs;
  if (others.length > 0)
    network.notes.push(`Only the output ${output} is read, not ${others.join(", ")}.`);
  const end = entries.get(output);
  if (!isTensor(end))
    return refuse("file", "outputs", "a tensor that the network computes", output);
  if (end.order === "first" && end.value.shape.length > 1)
    network.notes.push("The output has its channels last here, where the file has them first.");
  return network.finish(end.value, options, readNotes(notedIn(file.metadata)));
}

/** Operators whose inputs behind the first are weights. */
const WEIGHTED = new Set([
  "Conv",
  "ConvTranspose",
  "Gemm",
  "MatMul",
  "GRU",
  "LSTM",
  "BatchNormalization",
]);

const readsAsWeight = ({ op, inputs }: OnnxNode, name: string): boolean =>
  inputs.includes(name, 1) && WEIGHTED.has(op);

/** What our own writer notes, each under a key of its own as JSON. */
function notedIn(metadata: ReadonlyMap<string, string>): Readonly<Record<string, unknown>> {
  const noted: Record<string, unknown> = Object.create(null);
  for (const [key, text] of metadata)
    if (key.startsWith(NOTED))
      try {
        noted[key.slice(NOTED.length)] = JSON.parse(text);
      } catch {
        // Not by our writer.
      }
  return noted;
}

/** How the input's axes are ordered: told by the first operator that minds. */
function orderOf(input: string, shape: readonly number[], nodes: readonly OnnxNode[]): Order {
  const names = new Set([input]);
  const rank = shape.length;
  for (const { op, inputs, outputs, attributes } of nodes) {
    if (!inputs.some((name) => names.has(name))) continue;
    if (op === "Transpose") {
      const axes = Array.isArray(attributes["perm"]) ? attributes["perm"].join() : "";
      return axes === "1,0,2" || rank === 2 || axes === "0,3,1,2"
        ? "last"
        : axes === "0,2,3,1"
          ? "first"
          : "last";
    }
    // One channel moves to the front by a Reshape.
    if (op === "Reshape" && rank === 4 && shape[3] === 1) return "last";
    if (["GRU", "LSTM"].includes(op)) return "time";
    if (["MatMul", "LayerNormalization", "Gather"].includes(op)) return "last";
    if (/Conv|Pool|Norm/.test(op)) return "first";
    if (op === "Flatten") break;
    if (op === "Softmax" && rank === 3) return "last";
    for (const output of outputs) names.add(output);
  }
  return rank === 4 ? "first" : "last";
}

type Operator = (network: Graph, node: Reader) => readonly (Entry | undefined)[];

const scalar = ({ data }: OnnxTensor): number | undefined =>
  data.length === 1 ? Number(data[0]) : undefined;

const near = (a: number | undefined, b: number) =>
  a !== undefined && Math.abs(a - b) <= 1e-4 * Math.abs(b);

/** Sizes of a tensor as ONNX counts them; the batch is -1. */
function dims({ value: { shape, channelsFirst }, order }: Tensor): number[] {
  if (channelsFirst || shape.length === 1 || order === "last") return [-1, ...shape];
  if (order === "first") return [-1, shape[shape.length - 1], ...shape.slice(0, -1)];
  if (order === "time") return [shape[0], -1, shape[1]];
  if (order === "steps") return [shape[0], 1, -1, shape[1]];
  return [1, -1, ...shape];
}

const rankOf = (x: Tensor) => dims(x).length;

/** The axis counted from the front. */
const axisOf = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);

/** Which axis of ONNX' are the channels. */
const channelAxis = (x: Tensor) => (x.order === "first" ? 1 : rankOf(x) - 1);

const same = (x: Tensor, value: Value): readonly [Tensor] => [{ value, order: x.order }];

/** Refuses a tensor whose axes ONNX does not order so. */
function ordered(node: Reader, x: Tensor, order: Order): Value {
  if (x.order !== order && x.value.shape.length > 1)
    refuse(
      node.label,
      "input 0",
      order === "first"
        ? "channels before places"
        : order === "last"
          ? "channels behind places"
          : "steps before the batch",
      `axes ${dims(x).join(" x ")}`,
    );
  return x.value;
}

const only = (node: Reader, name: string, allowed: readonly unknown[], value: unknown): void => {
  if (!allowed.includes(value)) refuse(node.label, name, allowed.join(" or "), value);
};

function window(node: Reader, x: Value, kernel: readonly number[]) {
  const axes = x.shape.length - 1;
  if (kernel.length !== axes)
    refuse(node.label, "kernel_shape", `${axes} sizes for ${x.shape.join(" x ")}`, kernel);
  const strides = node.integers("strides") ?? kernel.map(() => 1);
  if (strides.length !== axes) refuse(node.label, "strides", `${axes} numbers`, strides);
  const dilations = node.integers("dilations") ?? [];
  if (dilations.some((one) => one !== 1)) refuse(node.label, "dilations", "1", dilations);
  const pads = node.integers("pads") ?? kernel.flatMap(() => [0, 0]);
  const auto = node.text("auto_pad", "NOTSET");
  const sides = kernel.map((_, axis) => [pads[axis], pads[axis + axes]] as const);
  if (pads.length !== 2 * axes || pads.some((n) => !(n >= 0)))
    refuse(node.label, "pads", `${2 * axes} numbers from 0`, pads);
  const shared = (sizes: readonly number[]) =>
    sizes.length === 1 ? sizes[0] : sizes[0] === sizes[1] ? sizes[0] : sizes;
  const like = kernel.map((k, axis) => {
    const n = x.shape[axis];
    const total = Math.max((Math.ceil(n / strides[axis]) - 1) * strides[axis] + k - n, 0);
    return [Math.floor(total / 2), Math.ceil(total / 2)];
  });
  let padding: "valid" | "same" | Pads;
  if (auto === "SAME_UPPER") padding = "same";
  else if (auto === "SAME_LOWER" && like.every(([a, b]) => a === b)) padding = "same";
  else if (auto === "NOTSET" || auto === "VALID") {
    if (auto === "VALID" || pads.every((n) => n === 0)) padding = "valid";
    else if (like.join() === sides.join() && x.pads === undefined) padding = "same";
    else padding = axes === 1 ? [[0, 0], sides[0]] : [sides[0], sides[1]];
  } else return refuse(node.label, "auto_pad", "NOTSET, VALID or SAME_UPPER", auto);
  return { strides: shared(strides), padding, size: shared(kernel), sides };
}

const conv: Operator = (network, node) => {
  const x = node.tensor(0);
  const value = ordered(node, x, "first");
  const kernel = node.numbers(1);
  const bias = node.has(2) ? node.numbers(2).data : undefined;
  // What a global pool leaves, [B, C, 1, 1], is a row here.
  if (value.shape.length === 1 && elements(kernel.shape.slice(2)) === 1)
    return linear(
      network,
      node,
      x,
      permute({ ...kernel, shape: kernel.shape.slice(0, 2) }, [1, 0]),
      bias,
    );
  const axes = value.shape.length - 1;
  if (axes < 1 || kernel.shape.length !== axes + 2)
    refuse(node.label, "W", `${axes + 2} axes`, kernel.shape);
  const [filters, perGroup, ...sizes] = kernel.shape;
  const { strides, padding } = window(node, value, sizes);
  const group = node.float("group", 1);
  const channels = value.shape[axes];
  const kernelSize = axes === 1 ? sizes[0] : sizes;
  if (perGroup * group !== channels)
    refuse(node.label, "W", `filters over ${channels} channels`, kernel.shape);
  let fields: Fields & { padding: unknown };
  let data: Float32Array;
  if (group === 1) {
    fields = { type: axes === 1 ? "conv1d" : "conv2d", filters, kernelSize, strides, padding };
    data = permute(kernel, axes === 1 ? [2, 1, 0] : [2, 3, 1, 0]).data;
  } else if (group === channels && axes === 2) {
    const multiplier = filters / channels;
    const spread = { shape: [channels, multiplier, ...sizes], data: kernel.data };
    fields = { type: "depthwiseConv2d", multiplier, kernelSize, strides, padding };
    if (!Number.isInteger(multiplier))
      refuse(node.label, "W", `a multiple of ${channels} filters`, filters);
    data = permute(spread, [2, 3, 0, 1]).data;
  } else
    return refuse(
      node.label,
      "group",
      axes === 2 ? `1 or ${channels}, its input's channels` : "1",
      group,
    );
  return same(x, network.convolution(node.label, fields, value, { kernel: data, bias }));
};

const convTranspose: Operator = (network, node) => {
  const x = node.tensor(0);
  const value = ordered(node, x, "first");
  const kernel = node.numbers(1);
  const axes = value.shape.length - 1;
  only(node, "group", [1], node.float("group", 1));
  if (axes < 1 || kernel.shape.length !== axes + 2)
    refuse(node.label, "W", `${axes + 2} axes`, kernel.shape);
  const [, filters, ...sizes] = kernel.shape;
  const { strides } = window(node, value, sizes);
  const step = (axis: number) => (typeof strides === "number" ? strides : strides[axis]);
  const pads = node.integers("pads") ?? sizes.flatMap(() => [0, 0]);
  const extra = node.integers("output_padding") ?? sizes.map(() => 0);
  const auto = node.text("auto_pad", "NOTSET");
  if (node.integers("output_shape"))
    refuse(node.label, "output_shape", "none", node.integers("output_shape"));
  const fits = (make: (k: number, s: number) => readonly [number, number]) =>
    sizes.every((k, axis) => {
      const [before, after] = make(k, step(axis));
      return pads[axis] === before && pads[axis + axes] - extra[axis] === after;
    });
  const like = (k: number, s: number): readonly [number, number] => {
    const total = Math.max(k - s, 0);
    return [Math.floor(total / 2), total - Math.floor(total / 2) - Math.max(s - k, 0)];
  };
  const valid = fits(() => [0, 0]) && ["NOTSET", "VALID"].includes(auto);
  const padding = valid
    ? "valid"
    : auto === "SAME_UPPER" || (auto === "NOTSET" && fits(like))
      ? "same"
      : undefined;
  if (padding === undefined)
    refuse(
      node.label,
      "pads",
      `those of "valid" or "same" with output_padding`,
      `${pads.join(", ")} with ${extra.join(", ")} and ${auto}`,
    );
  const fields: Fields = {
    type: axes === 1 ? "conv1dTranspose" : "conv2dTranspose",
    ...{ filters, kernelSize: axes === 1 ? sizes[0] : sizes, strides, padding },
  };
  const data = permute(kernel, axes === 1 ? [2, 1, 0] : [2, 3, 1, 0]).data;
  const bias = node.has(2) ? node.numbers(2).data : undefined;
  return same(x, network.add(node.label, fields, [value], { kernel: data, bias }));
};

const pool =
  (type: "maxPool" | "avgPool"): Operator =>
  (network, node) => {
    const x = node.tensor(0);
    const value = ordered(node, x, "first");
    const kernel = node.integers("kernel_shape") ?? [];
    const { strides, padding, size, sides } = window(node, value, kernel);
    const { shape } = value;
    if (node.float("ceil_mode", 0) !== 0) {
      const uneven = kernel.some((k, axis) => {
        const step = typeof strides === "number" ? strides : strides[axis];
        return (shape[axis] + sides[axis][0] + sides[axis][1] - k) % step !== 0;
      });
      if (uneven) refuse(node.label, "ceil_mode", "0", 1);
    }
    if (typeof padding !== "string")
      refuse(node.label, "pads", `none, or those of "same"`, sides.join(" "));
    if (padding !== "valid" && type === "avgPool" && node.float("count_include_pad", 0) === 1)
      refuse(node.label, "count_include_pad", "0", 1);
    return same(x, network.add(node.label, { type, size, strides, padding }, [value]));
  };

/** x W + b for a matrix [in, units]. */
function linear(network: Graph, node: Reader, x: Tensor, kernel: FileTensor, bias?: Float32Array) {
  if (kernel.shape.length !== 2) refuse(node.label, "input 1", "a matrix", kernel.shape);
  if (x.order === "first" && x.value.shape.length > 1)
    refuse(node.label, "input 0", "channels behind places", `axes ${dims(x).join(" x ")}`);
  return same(x, network.dense(node.label, x.value, kernel.data, kernel.shape[1], bias));
}

const gemm: Operator = (network, node) => {
  for (const [name, allowed] of [
    ["alpha", 1],
    ["beta", 1],
    ["transA", 0],
  ] as const)
    only(node, name, [allowed], node.float(name, allowed));
  const b = node.numbers(1);
  if (b.shape.length !== 2) refuse(node.label, "B", "a matrix", b.shape);
  const kernel = node.float("transB", 0) === 1 ? permute(b, [1, 0]) : b;
  const [, units] = kernel.shape;
  let bias = node.has(2) ? node.numbers(2).data : undefined;
  if (bias?.length === 1) bias = new Float32Array(units).fill(bias[0]);
  const x = node.tensor(0);
  if (x.value.shape.length !== 1) refuse(node.label, "A", "rows", `axes ${dims(x).join(" x ")}`);
  return linear(network, node, x, kernel, bias);
};

/** Numbers per channel, where a constant is a scalar or varies along the channels only. */
function perChannel(
  node: Reader,
  x: Tensor,
  { shape, data }: OnnxTensor,
): Float32Array | undefined {
  const numbers = data instanceof Float32Array ? data : Float32Array.from(data, Number);
  if (numbers.length === 1) return numbers;
  const rank = rankOf(x);
  const padded = [...Array<number>(Math.max(rank - shape.length, 0)).fill(1), ...shape];
  const axis = channelAxis(x);
  return padded.length === rank && padded.every((size, i) => i === axis || size === 1)
    ? numbers
    : refuse(node.label, "input 1", "one number, or one for each channel", shape);
}

const arithmetic =
  (op: "Add" | "Sub" | "Mul" | "Div"): Operator =>
  (network, node) => {
    const [a, b] = [node.entry(0), node.entry(1)];
    const form = completed(network, node, op, a, b);
    if (form !== undefined) return [form];
    if (isConstant(a) && isConstant(b)) return [combined(node, op, a, b)];
    if (isConstant(b) && isTensor(a)) {
      if (op === "Add" && positions(a, b))
        return same(
          a,
          network.add(node.label, { type: "positionEmbedding" }, [a.value], {
            kernel: b.data as Float32Array,
          }),
        );
      const values = perChannel(node, a, b)!;
      const one = Float32Array.of(1);
      const none = new Float32Array(1);
      const scale = op === "Mul" ? values : op === "Div" ? values.map((v) => 1 / v) : one;
      const shift = op === "Add" ? values : op === "Sub" ? values.map((v) => -v) : none;
      const spread = (from: Float32Array, length: number) =>
        from.length === 1 ? new Float32Array(length).fill(from[0]) : from;
      const length = values.length;
      return same(
        a,
        network.affine(node.label, a.value, spread(scale, length), spread(shift, length)),
      );
    }
    if (isConstant(a) && isTensor(b) && (op === "Add" || op === "Mul"))
      return arithmetic(op)(network, { ...node, entry: (i) => node.entry(1 - i) });
    const [x, y] = [node.tensor(0), node.tensor(1)].map((one) =>
      op === "Mul" ? asRow(network, one) : one,
    );
    if (op !== "Add" && op !== "Mul") refuse(node.label, "", "numbers of the file on one side", op);
    if (op === "Mul") {
      const gated = gate(network, node, x, y) ?? gate(network, node, y, x);
      if (gated !== undefined) return [gated];
    }
    // [B, C, 1, 1] of a global pool counts at every place.
    if (x.order !== y.order && x.value.shape.length > 1 && y.value.shape.length > 1)
      refuse(
        node.label,
        "",
        "two tensors with the same order of axes",
        `${dims(x).join(" x ")} and ${dims(y).join(" x ")}`,
      );
    const larger = x.value.shape.length >= y.value.shape.length ? x : y;
    const type = op === "Add" ? "add" : "multiply";
    return same(larger, network.add(node.label, { type }, [x.value, y.value]));
  };

/** What a layer reads. */
function inputOf(network: Graph, { inputs: [at] }: { readonly inputs: readonly number[] }): Value {
  return at < 0 ? network.input : { at, shape: network.stepOf({ at, shape: [] })!.output };
}

/** A row that was spread to [1, 1, C], so that it counts at every place, as the row. */
function asRow(network: Graph, x: Tensor): Tensor {
  const step = network.stepOf(x.value);
  const { shape } = x.value;
  if (step?.type !== "reshape" || shape.slice(0, -1).some((size) => size !== 1)) return x;
  const row = inputOf(network, step);
  return row.shape.length === 1 ? { value: row, order: "last" } : x;
}

/** Whether a constant is a vector for each place, as [T, C] or [1, T, C]. */
function positions(x: Tensor, { shape, data }: OnnxTensor): boolean {
  const [length, channels] = x.value.shape;
  const own = shape.length === 3 && shape[0] === 1 ? shape.slice(1) : shape;
  return (
    x.order === "last" &&
    x.value.shape.length === 2 &&
    data instanceof Float32Array &&
    own.length === 2 &&
    own[0] === length &&
    own[1] === channels &&
    length > 1
  );
}

function combined(node: Reader, op: string, a: OnnxTensor, b: OnnxTensor): OnnxTensor {
  const longer = a.data.length >= b.data.length ? a : b;
  if (a.data.length !== b.data.length && a.data.length !== 1 && b.data.length !== 1)
    refuse(node.label, "", "numbers of one size", `${a.shape.join("x")} and ${b.shape.join("x")}`);
  const whole = !(a.data instanceof Float32Array) && !(b.data instanceof Float32Array);
  const result = Array.from({ length: longer.data.length }, (_, i) => {
    const [p, q] = [a, b].map(({ data }) => Number(data[data.length === 1 ? 0 : i]));
    const value = op === "Add" ? p + q : op === "Sub" ? p - q : op === "Mul" ? p * q : p / q;
    return whole ? Math.trunc(value) : value;
  });
  const safe = whole && result.every(Number.isSafeInteger);
  return {
    name: "",
    shape: longer.shape,
    data: safe ? result.map(BigInt) : Float32Array.from(result),
  };
}

/** x s(x) and x hardSigmoid(x), written as two operators. */
function gate(network: Graph, node: Reader, x: Tensor, y: Tensor): Tensor | undefined {
  const step = network.stepOf(y.value);
  if (step?.inputs.length !== 1 || step.inputs[0] !== x.value.at) return undefined;
  const name = step.fields["activation"];
  if (step.type !== "activation" || (name !== "sigmoid" && name !== "hardSigmoid"))
    return undefined;
  const value = network.activation(node.label, x.value, name === "sigmoid" ? "silu" : "hardSwish");
  return { value, order: x.order };
}

/** The next piece of layerNorm or gelu, where the operands are pieces of them. */
function completed(
  network: Graph,
  node: Reader,
  op: string,
  a: Entry | undefined,
  b: Entry | undefined,
): Entry | undefined {
  const number = isConstant(b) ? scalar(b) : isConstant(a) ? scalar(a) : undefined;
  const piece = isPart(a) ? a : isPart(b) ? b : undefined;
  const of = (x: Entry | undefined, { value }: Tensor) => isTensor(x) && x.value.at === value.at;
  if (op === "Sub" && isTensor(a) && isPart(b) && b.part === "mean" && of(a, b.of))
    return { part: "centred", of: b.of };
  if (op === "Mul" && isPart(a) && isPart(b) && a.part === "centred" && b.part === "centred")
    return { part: "square", of: a.of };
  if (op === "Add" && piece?.part === "variance" && number !== undefined)
    return { ...piece, number };
  if (op === "Div" && isPart(a) && isPart(b) && a.part === "centred" && b.part === "sigma") {
    const fields: Fields = { type: "layerNorm", epsilon: b.number ?? 0 };
    return { value: network.add(node.label, fields, [a.of.value]), order: a.of.order };
  }
  // gelu: x / sqrt 2, Erf, + 1, * x, * 0.5 in PyTorch's order or with 0.5 x first.
  if (op === "Div" && isTensor(a) && near(number, Math.SQRT2)) return { part: "halves", of: a };
  if (op === "Mul" && isTensor(isTensor(a) ? a : b) && near(number, Math.SQRT1_2))
    return { part: "halves", of: (isTensor(a) ? a : b) as Tensor };
  if (op === "Add" && piece?.part === "erf" && number === 1) return { part: "cdf", of: piece.of };
  if (op === "Mul" && piece?.part === "cdf") {
    const other = piece === a ? b : a;
    if (number === 0.5) return { ...piece, number: 0.5 };
    if (of(other, piece.of)) {
      if (piece.number !== 0.5) return { part: "twice", of: piece.of };
      return {
        value: network.activation(node.label, piece.of.value, "gelu"),
        order: piece.of.order,
      };
    }
    const step = isTensor(other) ? network.stepOf(other.value) : undefined;
    const halved = step?.type === "affine" && step.inputs[0] === piece.of.value.at;
    if (
      halved &&
      step.tensors["scale"].every((s) => s === 0.5) &&
      step.tensors["shift"].every((s) => s === 0)
    )
      return {
        value: network.activation(node.label, piece.of.value, "gelu"),
        order: piece.of.order,
      };
  }
  if (op === "Mul" && piece?.part === "twice" && number === 0.5)
    return { value: network.activation(node.label, piece.of.value, "gelu"), order: piece.of.order };
  return undefined;
}

const batchNorm: Operator = (network, node) => {
  const x = node.tensor(0);
  const [gamma, beta, mean, variance] = [1, 2, 3, 4].map((i) => node.numbers(i).data);
  only(node, "training_mode", [0], node.float("training_mode", 0));
  if (node.opset < 9) only(node, "spatial", [1], node.float("spatial", 1));
  if (x.order !== "first" && x.value.shape.length > 1) ordered(node, x, "first");
  const numbers = { gamma, beta, mean, variance };
  const fields = { epsilon: node.float("epsilon", 1e-5), momentum: node.float("momentum", 0.9) };
  return same(x, network.batchNorm(node.label, x.value, numbers, fields));
};

const unary =
  (name: ActivationName): Operator =>
  (network, node) => {
    const x = node.tensor(0);
    return same(x, network.activation(node.label, x.value, name));
  };

const softmax: Operator = (network, node) => {
  const x = node.tensor(0);
  const rank = rankOf(x);
  const axis = axisOf(node.float("axis", node.opset < 13 ? 1 : -1), rank);
  const rest = dims(x).slice(axis + 1);
  if (axis !== channelAxis(x) || (node.opset < 13 && rest.some((size) => size !== 1)))
    refuse(node.label, "axis", `${channelAxis(x)}, the channels`, axis);
  void network;
  return [{ value: { ...x.value, softmax: true }, order: x.order }];
};

const flatten: Operator = (network, node) => {
  only(node, "axis", [1], node.float("axis", 1));
  const x = node.tensor(0);
  if (!["first", "last"].includes(x.order)) ordered(node, x, "last");
  return [{ value: network.flatten(node.label, x.value, x.order === "first"), order: "last" }];
};

const reshape: Operator = (network, node) => {
  const from = node.entry(0);
  const target = node.sizes("shape", 1) ?? [];
  if (isConstant(from)) return [{ ...from, shape: resolved(node, target, from.data.length) }];
  if (isPart(from) && from.part === "grouped") {
    // What InstanceNormalization gave goes back under its own shape.
    return [from.of];
  }
  const x = node.tensor(0);
  const { value, order } = x;
  const axes = dims(x);
  const size = elements(value.shape);
  const kept = target.map((n, i) => (n === 0 ? (axes[i] ?? 0) : n));
  if (order === "steps" && target.length === 3) return [{ value, order: "time" }];
  if (
    (order === "first" || value.shape.length === 1) &&
    target.length === 3 &&
    target[0] <= 0 &&
    target[2] === -1 &&
    target[1] > 0
  )
    return [{ part: "grouped", of: x, number: target[1] }];
  const rest = kept.slice(1);
  const known = rest.filter((n) => n > 0).reduce((a, b) => a * b, 1);
  const sizes = rest.map((n) => (n === -1 ? size / known : n));
  if (elements(sizes) !== size || !["first", "last"].includes(order))
    refuse(node.label, "shape", `${size} numbers for each example`, target);
  if (sizes.join() === axes.slice(1).join()) return [x];
  // One channel may stand at either end.
  if (value.shape.length === 3 && value.shape[2] === 1) {
    const [height, width] = value.shape;
    const other = order === "first" ? [height, width, 1] : [1, height, width];
    if (sizes.join() === other.join())
      return [{ value, order: order === "first" ? "last" : "first" }];
  }
  if (sizes.length === 1)
    return [{ value: network.flatten(node.label, value, order === "first"), order: "last" }];
  if (order === "first" && value.shape.length > 1)
    return refuse(node.label, "shape", "a row, or groups of channels", target);
  // [B, C] as [B, C, 1, 1], which a global pool leaves.
  if (value.shape.length === 1 && sizes.slice(1).every((n) => n === 1))
    return [
      {
        value: network.add(node.label, { type: "reshape", shape: [...sizes.slice(1), sizes[0]] }, [
          value,
        ]),
        order: "first",
      },
    ];
  return [
    { value: network.add(node.label, { type: "reshape", shape: sizes }, [value]), order: "last" },
  ];
};

function resolved(node: Reader, target: readonly number[], size: number): number[] {
  const known = target.filter((n) => n > 0).reduce((a, b) => a * b, 1);
  const shape = target.map((n) => (n === -1 ? size / known : n));
  if (elements(shape) !== size) refuse(node.label, "shape", `${size} numbers`, target);
  return shape;
}

const transpose: Operator = (_network, node) => {
  const from = node.entry(0);
  const axes = node.integers("perm");
  if (isConstant(from)) {
    const order = axes ?? from.shape.map((_, i) => from.shape.length - 1 - i);
    if (new Set(order).size !== from.shape.length || order.some((i) => from.shape[i] === undefined))
      refuse(node.label, "perm", "each axis once", order);
    return [
      {
        ...from,
        ...permute({ shape: from.shape, data: Float32Array.from([...from.data], Number) }, order),
      },
    ];
  }
  const x = node.tensor(0);
  const key = `${x.order} ${axes?.join() ?? ""}`;
  const orders: Readonly<Record<string, Order>> = {
    ...{ "first 0,2,3,1": "last", "last 0,3,1,2": "first", "first 0,2,1": "last" },
    ...{ "last 0,2,1": "first", "last 1,0,2": "time", "time 1,0,2": "last" },
    ...{ "steps 0,2,1,3": "steps", "last 0,1": "last", "first 0,1": "first" },
  };
  const order = Object.hasOwn(orders, key) ? orders[key] : undefined;
  if (order === undefined)
    return refuse(
      node.label,
      "perm",
      "channels to the front or the back, or steps before the batch",
      axes,
    );
  return [{ value: x.value, order }];
};

const squeeze: Operator = (_network, node) => {
  const from = node.entry(0);
  const axes = node.sizes("axes", 1);
  if (isConstant(from))
    return [
      {
        ...from,
        shape: from.shape.filter(
          (n, i) => !(axes?.map((a) => axisOf(a, from.shape.length)).includes(i) ?? n === 1),
        ),
      },
    ];
  const x = node.tensor(0);
  const all = dims(x);
  const at = axes?.map((axis) => axisOf(axis, all.length)).join();
  if (x.order === "steps" && at === "1") return [{ value: x.value, order: "time" }];
  if (x.order === "final" && at === "0") return [{ value: x.value, order: "last" }];
  if (
    x.order === "first" &&
    (axes ?? []).every((axis) => all[axisOf(axis, all.length)] === 1) &&
    all.slice(2).every((n) => n === 1)
  )
    return [{ value: _network.flatten(node.label, x.value, false), order: "last" }];
  return refuse(node.label, "axes", "axes of size 1 behind the channels", axes);
};

const unsqueeze: Operator = (network, node) => {
  const from = node.entry(0);
  const axes = node.sizes("axes", 1) ?? [];
  if (isConstant(from)) {
    const shape = [...from.shape];
    for (const axis of axes) shape.splice(axisOf(axis, shape.length + 1), 0, 1);
    return [{ ...from, shape }];
  }
  const x = node.tensor(0);
  const { value } = x;
  if (value.shape.length === 1 && axes.join() === "1")
    return [
      {
        value: network.add(node.label, { type: "reshape", shape: [value.shape[0], 1] }, [value]),
        order: "first",
      },
    ];
  if (value.shape.length === 1 && ["2", "-1"].includes(axes.join()))
    return [
      {
        value: network.add(node.label, { type: "reshape", shape: [value.shape[0], 1] }, [value]),
        order: "last",
      },
    ];
  return refuse(node.label, "axes", "an axis behind a row", axes);
};

const concat: Operator = (network, node) => {
  const all: Entry[] = [];
  for (let i = 0; node.has(i); i++) all.push(node.entry(i) ?? node.tensor(i));
  if (all.every(isConstant)) {
    const parts = all.flatMap(({ data }) => [...data]);
    const whole = parts.every((part) => typeof part === "bigint");
    return [
      {
        name: "",
        shape: [parts.length],
        data: whole ? (parts as bigint[]) : Float32Array.from(parts, Number),
      },
    ];
  }
  const values = all.map((_, i) => node.tensor(i));
  const [first] = values;
  const axis = axisOf(node.float("axis", 1), rankOf(first));
  if (values.some(({ order, value }) => order !== first.order && value.shape.length > 1))
    refuse(
      node.label,
      "",
      "tensors with the same order of axes",
      values.map((x) => dims(x).join("x")).join(", "),
    );
  if (axis !== channelAxis(first))
    refuse(node.label, "axis", `${channelAxis(first)}, the channels`, axis);
  if (values.length === 1) return [first];
  return same(
    first,
    network.add(
      node.label,
      { type: "concat" },
      values.map(({ value }) => value),
    ),
  );
};

const clip: Operator = (network, node) => {
  const bound = (name: string, i: number): number | undefined => {
    const given = node.attribute(name);
    return typeof given === "number" ? given : node.has(i) ? scalar(node.constant(i)) : undefined;
  };
  const [least, most] = [bound("min", 1), bound("max", 2)];
  const unbounded = most === undefined || most >= 3.4e38;
  if (least !== 0 || (!unbounded && most !== 6))
    refuse(
      node.label,
      "min, max",
      "0 and 6, or 0 alone",
      `${least ?? "none"} and ${most ?? "none"}`,
    );
  return unary(unbounded ? "relu" : "relu6")(network, node);
};

const recurrent =
  (type: "gru" | "lstm"): Operator =>
  (network, node) => {
    const x = node.tensor(0);
    const value = ordered(node, x, "time");
    const gates = type === "gru" ? 3 : 4;
    const direction = node.text("direction", "forward");
    const directions = direction === "bidirectional" ? 2 : 1;
    const units = node.float("hidden_size", 0);
    only(node, "layout", [0], node.float("layout", 0));
    if (node.attribute("clip") !== undefined)
      refuse(node.label, "clip", "none", node.attribute("clip"));
    if (type === "lstm") {
      only(node, "input_forget", [0], node.float("input_forget", 0));
      if (node.has(7) && [...node.constant(7).data].some((p) => Number(p) !== 0))
        refuse(node.label, "P", "no peepholes", "some");
    }
    if (node.has(4) && [...node.constant(4).data].some((n) => Number(n) !== value.shape[0]))
      refuse(node.label, "sequence_lens", "the length of the whole sequence", "others");
    for (const i of type === "gru" ? [5] : [5, 6])
      if (node.has(i) && [...node.constant(i).data].some((h) => Number(h) !== 0))
        refuse(node.label, i === 5 ? "initial_h" : "initial_c", "zeros", "other numbers");
    const names = node.attribute("activations");
    const usual = type === "gru" ? ["Sigmoid", "Tanh"] : ["Sigmoid", "Tanh", "Tanh"];
    const said = Array.isArray(names) ? names.map(String) : [];
    const functions = said.length > 0 ? said : [...usual, ...usual];
    const each = usual.length;
    const one = (k: number) => functions.slice(k * each, (k + 1) * each);
    if (directions === 2 && one(0).join() !== one(1).join())
      refuse(node.label, "activations", "the same in both directions", functions);
    const [g, f, h] = one(0);
    const known: Readonly<Record<string, ActivationName>> = {
      Sigmoid: "sigmoid",
      Tanh: "tanh",
      Relu: "relu",
    };
    if (!Object.hasOwn(known, g) || !Object.hasOwn(known, f) || (type === "lstm" && h !== f))
      refuse(node.label, "activations", usual.join(", "), functions);
    const [W, R] = [node.numbers(1), node.numbers(2)];
    const width = gates * units;
    const inputs = value.shape[value.shape.length - 1];
    if (W.shape.join() !== [directions, width, inputs].join())
      refuse(node.label, "W", `${directions} x ${width} x ${inputs}`, W.shape);
    if (R.shape.join() !== [directions, width, units].join())
      refuse(node.label, "R", `${directions} x ${width} x ${units}`, R.shape);
    const B = node.has(3) ? node.numbers(3).data : new Float32Array(directions * 2 * width);
    if (B.length !== directions * 2 * width)
      refuse(node.label, "B", `${directions * 2 * width} numbers`, B.length);
    const resetAfter = type === "gru" && node.float("linear_before_reset", 0) !== 0;
    // ONNX has a LSTM's gates in the order i o f c, we have i f c o.
    const order = type === "gru" ? [0, 1, 2] : [0, 2, 3, 1];
    const build = (k: number, returnSequences: boolean): Value => {
      const matrix = ({ data, shape }: FileTensor) => {
        const size = shape[1] * shape[2];
        const part = { shape: shape.slice(1), data: data.subarray(k * size, (k + 1) * size) };
        return blocks(permute(part, [1, 0]), order).data;
      };
      const vector = (from: number) =>
        blocks({ shape: [width], data: B.subarray(from, from + width) }, order).data;
      const [own, second] = [vector(2 * k * width), vector((2 * k + 1) * width)];
      const bias = resetAfter ? own : own.map((b, i) => b + second[i]);
      const reverse = k === 1 || direction === "reverse";
      return network.add(
        node.label,
        {
          ...{ type, units },
          ...(returnSequences && { returnSequences }),
          ...(reverse && { reverse }),
          ...(type === "gru" && { resetAfter }),
          ...(f !== "Tanh" && { activation: known[f] }),
          ...(g !== "Sigmoid" && { recurrentActivation: known[g] }),
        },
        [value],
        {
          kernel: matrix(W),
          recurrentKernel: matrix(R),
          bias,
          ...(resetAfter && { recurrentBias: second }),
        },
      );
    };
    const both = (returnSequences: boolean): Value => {
      const [forward, backward] = Array.from({ length: directions }, (_, k) =>
        build(k, returnSequences),
      );
      return backward === undefined
        ? forward
        : network.add(node.label, { type: "concat" }, [forward, backward]);
    };
    const final: Tensor | undefined =
      directions === 1 ? { value: build(0, false), order: "final" } : undefined;
    return [{ value: both(true), order: "steps" }, final];
  };

/** A row of a table for each token, or the last step of a recurrent layer. */
const gather: Operator = (network, node) => {
  const [from, at] = [node.entry(0), node.entry(1)];
  const axis = node.float("axis", 0);
  if (isConstant(from) && isConstant(at)) {
    const picked = [...at.data].map(
      (i) =>
        [...from.data].at(Number(i)) ??
        refuse(node.label, "indices", `places below ${from.data.length}`, i),
    );
    if (from.shape.length > 1 || axis !== 0) refuse(node.label, "data", "a list", from.shape);
    const whole = picked.every((one) => typeof one === "bigint");
    return [
      {
        name: "",
        shape: at.shape,
        data: whole ? (picked as bigint[]) : Float32Array.from(picked, Number),
      },
    ];
  }
  if (isConstant(from) && isTensor(at)) {
    const { shape, data } = node.numbers(0);
    if (axis !== 0 || shape.length !== 2)
      refuse(node.label, "data", "a table [vocabulary, units]", shape);
    const [vocabulary, units] = shape;
    return [
      {
        value: network.add(node.label, { type: "embedding", vocabulary, units }, [at.value], {
          kernel: data,
        }),
        order: "last",
      },
    ];
  }
  const x = node.tensor(0);
  const index = isConstant(at) ? scalar(at) : undefined;
  const length = x.value.shape[0];
  const steps = axis === (x.order === "time" ? 0 : 1) && (index === -1 || index === length - 1);
  const step = network.stepOf(x.value);
  if (
    steps &&
    ["time", "last"].includes(x.order) &&
    step?.fields["returnSequences"] === true &&
    !step.fields["reverse"]
  ) {
    const { returnSequences: _, ...fields } = step.fields;
    const value = network.add(
      node.label,
      { type: step.type as "gru", ...fields },
      [inputOf(network, step)],
      step.tensors,
    );
    return [{ value, order: "last" }];
  }
  return refuse(
    node.label,
    "indices",
    "tokens, or the last step of a recurrent layer",
    index ?? "others",
  );
};

/** A self-attention whose parts were recognised before. */
const attention: Operator = (network, node) => {
  const { value } = node.tensor(0);
  const [heads, keySize] = [node.float("heads", 0), node.float("size", 0)];
  const inside = heads * keySize;
  const channels = value.shape[value.shape.length - 1];
  const matrix = (i: number, shape: readonly number[]): Float32Array => {
    const found = node.numbers(i);
    return found.shape.join() === shape.join()
      ? found.data
      : refuse(node.label, `input ${i}`, shape.join(" x "), found.shape);
  };
  const beside = (places: readonly number[], rows: number) => {
    const parts = places.map((i) => matrix(i, rows === 1 ? [inside] : [rows, inside]));
    const data = new Float32Array(3 * inside * rows);
    for (let row = 0; row < rows; row++)
      parts.forEach((part, i) =>
        data.set(part.subarray(row * inside, (row + 1) * inside), (3 * row + i) * inside),
      );
    return data;
  };
  const causal = node.float("causal", 0) === 1;
  return same(
    node.tensor(0),
    network.add(
      node.label,
      { type: "multiHeadAttention", heads, keySize, ...(causal && { causal }) },
      [value],
      {
        ...{ kernel: beside([1, 3, 5], channels), bias: beside([2, 4, 6], 1) },
        ...{ outputKernel: matrix(7, [inside, channels]), outputBias: matrix(8, [channels]) },
      },
    ),
  );
};

/** A row at each of so many places. */
const tile: Operator = (network, node) => {
  const x = node.tensor(0);
  const repeats = node.sizes("repeats", 1) ?? [];
  const step = network.stepOf(x.value);
  const [, times] = repeats;
  const row = step?.type === "reshape" ? inputOf(network, step) : undefined;
  if (row?.shape.length !== 1 || dims(x)[1] !== 1 || repeats[0] !== 1 || repeats[2] !== 1)
    return refuse(node.label, "repeats", "1, times, 1 behind a row [1, channels]", repeats);
  return [{ value: network.add(node.label, { type: "repeat", times }, [row]), order: "last" }];
};

const layerNorm: Operator = (network, node) => {
  const x = node.tensor(0);
  const axis = axisOf(node.float("axis", -1), rankOf(x));
  if (axis !== rankOf(x) - 1 || x.order === "first")
    refuse(node.label, "axis", "-1, the channels", node.float("axis", -1));
  const tensors = {
    gamma: node.numbers(1).data,
    beta: node.has(2) ? node.numbers(2).data : undefined,
  };
  return same(
    x,
    network.add(
      node.label,
      { type: "layerNorm", epsilon: node.float("epsilon", 1e-5) },
      [x.value],
      tensors,
    ),
  );
};

const instanceNorm: Operator = (network, node) => {
  const from = node.entry(0);
  const grouped = isPart(from) && from.part === "grouped" ? from : undefined;
  const x = grouped?.of ?? node.tensor(0);
  const value = ordered(node, x, "first");
  const channels = value.shape[value.shape.length - 1];
  const groups = grouped?.number ?? channels;
  const [gamma, beta] = [1, 2].map((i) => {
    const { data } = node.numbers(i);
    if (data.length !== groups) refuse(node.label, `input ${i}`, `${groups} numbers`, data.length);
    return Float32Array.from(
      { length: channels },
      (_, c) => data[Math.floor((c * groups) / channels)],
    );
  });
  const fields: Fields = { type: "groupNorm", groups, epsilon: node.float("epsilon", 1e-5) };
  const normed = same(x, network.add(node.label, fields, [value], { gamma, beta }));
  return grouped === undefined ? normed : [{ part: "grouped", of: normed[0] }];
};

const groupNorm: Operator = (network, node) => {
  const x = node.tensor(0);
  const fields: Fields = {
    type: "groupNorm",
    groups: node.float("num_groups", 1),
    epsilon: node.float("epsilon", 1e-5),
  };
  const tensors = { gamma: node.numbers(1).data, beta: node.numbers(2).data };
  return same(x, network.add(node.label, fields, [ordered(node, x, "first")], tensors));
};

const globalPool =
  (type: "globalAvgPool" | "globalMaxPool"): Operator =>
  (network, node) => {
    const x = node.tensor(0);
    const value = network.add(node.label, { type }, [ordered(node, x, "first")]);
    // ONNX keeps the places' axes, each of size 1.
    return [{ value, order: "last" }];
  };

const reduceMean: Operator = (network, node) => {
  const from = node.entry(0);
  const axes = node.sizes("axes", 1) ?? [];
  const x = isPart(from) && from.part === "square" ? from.of : node.tensor(0);
  const rank = rankOf(x);
  const at = axes.map((axis) => axisOf(axis, rank)).sort((a, b) => a - b);
  if (at.join() === String(rank - 1) && x.order !== "first")
    return [{ part: isPart(from) ? "variance" : "mean", of: x }];
  const places = dims(x).flatMap((_, axis) =>
    axis === 0 || axis === channelAxis(x) ? [] : [axis],
  );
  if (isPart(from) || places.length === 0 || at.join() !== places.join())
    return refuse(node.label, "axes", "all places, or the channels in a layer normalisation", axes);
  return [{ value: network.add(node.label, { type: "globalAvgPool" }, [x.value]), order: "last" }];
};

const pad: Operator = (_network, node) => {
  const x = node.tensor(0);
  const value = ordered(node, x, "first");
  only(node, "mode", ["constant"], node.text("mode", "constant"));
  const zero = node.has(2) ? scalar(node.constant(2)) : node.float("value", 0);
  only(node, "value", [0], zero);
  const pads = node.sizes("pads", 1) ?? [];
  const rank = rankOf(x);
  if (
    pads.length !== 2 * rank ||
    [0, 1].some((axis) => pads[axis] !== 0 || pads[axis + rank] !== 0) ||
    pads.some((n) => !(n >= 0)) ||
    value.pads
  )
    refuse(node.label, "pads", "zeros around places only", pads);
  if (pads.every((n) => n === 0)) return [x];
  const side = (axis: number) => [pads[axis], pads[axis + rank]] as const;
  const all: Pads = rank === 3 ? [[0, 0], side(2)] : [side(2), side(3)];
  return same(x, { ...value, pads: all });
};

const identity: Operator = (_network, node) => [node.entry(0) ?? node.tensor(0)];

const constantOf: Operator = (_network, node) => {
  const value =
    node.attribute("value") ?? node.attribute("value_float") ?? node.attribute("value_int");
  if (typeof value === "object" && "data" in value) return [value];
  if (typeof value === "number") return [{ name: "", shape: [], data: Float32Array.of(value) }];
  if (typeof value === "bigint") return [{ name: "", shape: [], data: [value] }];
  const ints = node.integers("value_ints") ?? node.integers("value_floats");
  if (ints)
    return [
      {
        name: "",
        shape: [ints.length],
        data: ints.every(Number.isSafeInteger) ? ints.map(BigInt) : Float32Array.from(ints),
      },
    ];
  return refuse(node.label, "value", "numbers", "something else");
};

const shapeOf: Operator = (_network, node) => {
  const from = node.entry(0);
  const sizes = isConstant(from) ? from.shape : dims(node.tensor(0));
  return [{ name: "", shape: [sizes.length], data: sizes.map(BigInt) }];
};

const slice: Operator = (_network, node) => {
  const from = node.entry(0);
  if (!isConstant(from) || from.shape.length > 1)
    return refuse(node.label, "", "a list of sizes to cut", "a tensor");
  const [start] = node.sizes("starts", 1) ?? [0];
  const [end] = node.sizes("ends", 2) ?? [Infinity];
  const data = from.data.slice(start, Math.min(end, from.data.length));
  return [{ name: "", shape: [data.length], data }];
};

const resize: Operator = (network, node) => {
  const x = node.tensor(0);
  const value = ordered(node, x, "first");
  only(node, "mode", ["nearest"], node.text("mode", "nearest"));
  const scales = node.attribute("scales")
    ? (node.integers("scales") ?? [])
    : [
        ...(node.op === "Upsample" ? node.numbers(1) : node.has(2) ? node.numbers(2) : { data: [] })
          .data,
      ];
  const [batch, channels, ...size] = scales;
  if (
    batch !== 1 ||
    channels !== 1 ||
    !size.every(Number.isInteger) ||
    size.length !== value.shape.length - 1
  )
    refuse(node.label, "scales", "1, 1 and whole numbers", scales);
  return same(
    x,
    network.add(node.label, { type: "upsample", size: size.length === 1 ? size[0] : size }, [
      value,
    ]),
  );
};

export const OPERATORS: Readonly<Record<string, Operator>> = {
  Conv: conv,
  ConvTranspose: convTranspose,
  Gemm: gemm,
  MatMul: (network, node) => linear(network, node, node.tensor(0), node.numbers(1)),
  Add: arithmetic("Add"),
  Sub: arithmetic("Sub"),
  Mul: arithmetic("Mul"),
  Div: arithmetic("Div"),
  Sum: arithmetic("Add"),
  BatchNormalization: batchNorm,
  InstanceNormalization: instanceNorm,
  GroupNormalization: groupNorm,
  LayerNormalization: layerNorm,
  ...Object.fromEntries(Object.entries(ACTIVATIONS).map(([op, name]) => [op, unary(name)])),
  Elu: (network, node) => {
    only(node, "alpha", [1], node.float("alpha", 1));
    return unary("elu")(network, node);
  },
  LeakyRelu: (network, node) => {
    const alpha = node.float("alpha", 0.01);
    if (!near(alpha, 0.01)) refuse(node.label, "alpha", "0.01", Number(alpha.toPrecision(7)));
    return unary("leakyRelu")(network, node);
  },
  HardSigmoid: (network, node) => {
    const [alpha, beta] = [node.float("alpha", 0.2), node.float("beta", 0.5)];
    const name = near(alpha, 0.2) ? "hardSigmoid5" : near(alpha, 1 / 6) ? "hardSigmoid" : undefined;
    if (name === undefined)
      return refuse(node.label, "alpha", "0.2 or 1/6", Number(alpha.toPrecision(7)));
    if (!near(beta, 0.5)) refuse(node.label, "beta", "0.5", Number(beta.toPrecision(7)));
    return unary(name)(network, node);
  },
  Gelu: (network, node) => {
    only(node, "approximate", ["none"], node.text("approximate", "none"));
    return unary("gelu")(network, node);
  },
  Clip: clip,
  Softmax: softmax,
  MaxPool: pool("maxPool"),
  AveragePool: pool("avgPool"),
  GlobalAveragePool: globalPool("globalAvgPool"),
  GlobalMaxPool: globalPool("globalMaxPool"),
  ReduceMean: reduceMean,
  Pow: (_network, node) => {
    const from = node.entry(0);
    const power = scalar(node.constant(1));
    if (!isPart(from) || from.part !== "centred" || power !== 2)
      return refuse(node.label, "", "the square of x - mean(x), in a layer normalisation", power);
    return [{ part: "square", of: from.of }];
  },
  Sqrt: (_network, node) => {
    const from = node.entry(0);
    if (!isPart(from) || from.part !== "variance")
      return refuse(node.label, "", "the root of a variance, in a layer normalisation", "another");
    return [{ ...from, part: "sigma" }];
  },
  Erf: (_network, node) => {
    const from = node.entry(0);
    if (!isPart(from) || from.part !== "halves")
      return refuse(node.label, "", "x by the root of 2, in a gelu", "another");
    return [{ part: "erf", of: from.of }];
  },
  Flatten: flatten,
  Reshape: reshape,
  Transpose: transpose,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Concat: concat,
  Gather: gather,
  GRU: recurrent("gru"),
  LSTM: recurrent("lstm"),
  Pad: pad,
  Resize: resize,
  Upsample: resize,
  ...{ Tile: tile, [ATTENTION]: attention },
  Identity: identity,
  Cast: identity,
  Dropout: (network, node) => {
    const x = node.tensor(0);
    const ratio =
      node.opset < 12 ? node.float("ratio", 0.5) : node.has(1) ? scalar(node.constant(1)) : 0.5;
    return same(x, network.dropout(node.label, x.value, ratio ?? 0.5));
  },
  Constant: constantOf,
  Shape: shapeOf,
  Slice: slice,
};
