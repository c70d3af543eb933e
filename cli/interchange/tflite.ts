import { float16 } from "../../runtime/data/npy.js";
import type { ActivationName } from "../../runtime/models/layers/activations.js";
import { elements } from "../../runtime/tensors/shape.js";
import { graph, type Fields, type Graph, type Pads, type Value } from "./graph.js";
import {
  MAX_PARAMETERS,
  permute,
  refuse,
  type FileTensor,
  type Imported,
  type ImportOptions,
} from "./imported.js";

// TFLite's schema.fbs, read in place: a table is a place in the file, whose fields are found by
// their number. A DataView refuses every place outside of the file.

/** A table of FlatBuffers. */
class Table {
  constructor(
    private readonly view: DataView,
    private readonly at: number,
  ) {}

  private place(field: number): number | undefined {
    const table = this.at - this.view.getInt32(this.at, true);
    if (4 + 2 * field >= this.view.getUint16(table, true)) return undefined;
    const offset = this.view.getUint16(table + 4 + 2 * field, true);
    return offset === 0 ? undefined : this.at + offset;
  }

  private target(place: number): number {
    return place + this.view.getUint32(place, true);
  }

  byte(field: number, initial = 0): number {
    const place = this.place(field);
    return place === undefined ? initial : this.view.getInt8(place);
  }

  int(field: number, initial = 0): number {
    const place = this.place(field);
    return place === undefined ? initial : this.view.getInt32(place, true);
  }

  float(field: number, initial = 0): number {
    const place = this.place(field);
    return place === undefined ? initial : this.view.getFloat32(place, true);
  }

  table(field: number): Table | undefined {
    const place = this.place(field);
    return place === undefined ? undefined : new Table(this.view, this.target(place));
  }

  /** Where a list begins, and its length, which lies in the file. */
  private list(field: number, width: number): readonly [number, number] {
    const place = this.place(field);
    if (place === undefined) return [0, 0];
    const at = this.target(place);
    const length = this.view.getUint32(at, true);
    if (at + 4 + length * width > this.view.byteLength)
      refuse("file", "", `${length * width} bytes in a list`, "a file cut off");
    return [at + 4, length];
  }

  ints(field: number): number[] {
    const [at, length] = this.list(field, 4);
    return Array.from({ length }, (_, i) => this.view.getInt32(at + 4 * i, true));
  }

  bytes(field: number): Uint8Array {
    const [at, length] = this.list(field, 1);
    return new Uint8Array(this.view.buffer, this.view.byteOffset + at, length);
  }

  tables(field: number): Table[] {
    const [at, length] = this.list(field, 4);
    if (length > 20_000) refuse("file", "", "at most 20000 tables in a list", length);
    return Array.from({ length }, (_, i) => new Table(this.view, this.target(at + 4 * i)));
  }
}

const TYPES = [
  "float32",
  "float16",
  "int32",
  "uint8",
  "int64",
  "string",
  "bool",
  "int16",
  "complex64",
  "int8",
];

const NAMES: Readonly<Record<number, string>> = {
  ...{ 0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D" },
  ...{ 6: "DEQUANTIZE", 9: "FULLY_CONNECTED", 14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL" },
  ...{ 19: "RELU", 21: "RELU6", 22: "RESHAPE", 25: "SOFTMAX", 28: "TANH", 32: "CUSTOM", 34: "PAD" },
  ...{
    40: "MEAN",
    43: "SQUEEZE",
    44: "UNIDIRECTIONAL_SEQUENCE_LSTM",
    45: "STRIDED_SLICE",
    98: "LEAKY_RELU",
  },
  ...{ 111: "ELU", 114: "QUANTIZE", 117: "HARD_SWISH", 118: "IF", 119: "WHILE", 150: "GELU" },
};

const FUSED: readonly (ActivationName | undefined | null)[] = [
  undefined,
  "relu",
  null,
  "relu6",
  "tanh",
];

/** What an operator's function is given. */
interface Call {
  readonly network: Graph;
  readonly label: string;
  readonly options: Table;
  readonly x: Value;
  readonly inputs: readonly (Value | undefined)[];
  /** Sizes of the output without the batch. */
  readonly output: readonly number[];
  /** Numbers of an input that stand in the file. */
  numbers(i: number): FileTensor;
  has(i: number): boolean;
}

/** The activation that an operator does on the way. */
function fused({ network, label, options }: Call, field: number, y: Value): Value {
  const code = options.byte(field);
  const name = FUSED[code];
  if (name === null || code >= FUSED.length)
    return refuse(label, "fused_activation_function", "none, RELU, RELU6 or TANH", code);
  return name === undefined ? y : network.activation(label, y, name);
}

const one = (sizes: readonly [number, number]): number | readonly [number, number] =>
  sizes[0] === sizes[1] ? sizes[0] : sizes;

const padding = (call: Call): "same" | "valid" => (call.options.byte(0) === 0 ? "same" : "valid");

const strides = ({ options }: Call) => one([options.int(2, 1), options.int(1, 1)]);

const fullyConnected = (call: Call): Value => {
  const { network, label, x } = call;
  const weights = call.numbers(1);
  if (weights.shape.length !== 2) refuse(label, "weights", "a matrix", weights.shape);
  if (call.options.byte(1) !== 0) refuse(label, "weights_format", "DEFAULT", call.options.byte(1));
  const units = weights.shape[0];
  const kernel = permute(weights, [1, 0]).data;
  const bias = call.has(2) ? call.numbers(2).data : undefined;
  // It flattens what it reads, where the rows are longer than the last axis.
  const flat =
    weights.shape[1] === x.shape[x.shape.length - 1] ? x : network.flatten(label, x, false);
  return fused(call, 0, network.dense(label, flat, kernel, units, bias));
};

const convolution = (call: Call): Value => {
  const { network, label, options, x } = call;
  const weights = call.numbers(1);
  if (weights.shape.length !== 4) refuse(label, "weights", "four axes", weights.shape);
  for (const field of [4, 5])
    if (options.int(field, 1) !== 1) refuse(label, "dilation", "1", options.int(field, 1));
  const [filters, height, width] = weights.shape;
  const fields = {
    ...{ type: "conv2d" as const, filters, kernelSize: one([height, width]) },
    ...{ strides: strides(call), padding: padding(call) },
  };
  const tensors = {
    kernel: permute(weights, [1, 2, 3, 0]).data,
    bias: call.has(2) ? call.numbers(2).data : undefined,
  };
  return fused(call, 3, network.convolution(label, fields, x, tensors));
};

const depthwise = (call: Call): Value => {
  const { network, label, options, x } = call;
  const weights = call.numbers(1);
  if (weights.shape.length !== 4) refuse(label, "weights", "four axes", weights.shape);
  for (const field of [5, 6])
    if (options.int(field, 1) !== 1) refuse(label, "dilation", "1", options.int(field, 1));
  const [, height, width, filters] = weights.shape;
  const fields = {
    ...{ type: "depthwiseConv2d" as const, kernelSize: one([height, width]) },
    multiplier: filters / x.shape[x.shape.length - 1],
    ...{ strides: strides(call), padding: padding(call) },
  };
  const tensors = { kernel: weights.data, bias: call.has(2) ? call.numbers(2).data : undefined };
  return fused(call, 4, network.convolution(label, fields, x, tensors));
};

const pool =
  (type: "maxPool" | "avgPool") =>
  (call: Call): Value => {
    const { network, label, options, x } = call;
    const size = one([options.int(4, 1), options.int(3, 1)]);
    const fields = { type, size, strides: strides(call), padding: padding(call) };
    return fused(call, 5, network.add(label, fields, [x]));
  };

const several =
  (type: "add" | "multiply", scalar: "shift" | "scale") =>
  (call: Call): Value => {
    const { network, label, inputs } = call;
    const [a, b] = inputs;
    if (a !== undefined && b !== undefined)
      return fused(call, 0, network.add(label, { type }, [a, b]));
    const { data } = call.numbers(a === undefined ? 0 : 1);
    const scale = scalar === "scale" ? data : new Float32Array(data.length).fill(1);
    const shift = scalar === "shift" ? data : new Float32Array(data.length);
    return fused(call, 0, network.affine(label, (a ?? b)!, scale, shift));
  };

/** Gates i, f, c, o in tensors of their own. */
const lstm = (call: Call): Value => {
  const { network, label, options, x, output } = call;
  for (const i of [9, 10, 11]) if (call.has(i)) refuse(label, `input ${i}`, "no peepholes", "some");
  for (const i of [16, 17, 20, 21, 22, 23])
    if (call.has(i)) refuse(label, `input ${i}`, "no projection or normalisation", "one");
  if (options.byte(0) !== 4) refuse(label, "fused_activation_function", "TANH", options.byte(0));
  // Nothing trained reaches a clip of 10.
  if (options.float(1) !== 0 && options.float(1) < 10)
    refuse(label, "cell_clip", "none, or 10 and more", options.float(1));
  if (options.float(2) !== 0) refuse(label, "proj_clip", "none", options.float(2));
  if (options.byte(3) !== 0) refuse(label, "time_major", "false", "true");
  const gates = (from: number) => [0, 1, 2, 3].map((gate) => call.numbers(from + gate));
  const [inputs, states] = [gates(1), gates(5)];
  const units = inputs[0].shape[0];
  const side = (matrices: readonly FileTensor[]): Float32Array => {
    const [rows] = matrices[0].shape.slice(1);
    const all = new Float32Array(rows * 4 * units);
    matrices.forEach(({ shape, data }, gate) => {
      if (shape.join() !== [units, rows].join())
        refuse(label, "weights", `${units} x ${rows}`, shape);
      for (let u = 0; u < units; u++)
        for (let row = 0; row < rows; row++)
          all[row * 4 * units + gate * units + u] = data[u * rows + row];
    });
    return all;
  };
  const bias = new Float32Array(4 * units);
  gates(12).forEach(({ data }, gate) => bias.set(data.subarray(0, units), gate * units));
  const fields: Fields = {
    ...{ type: "lstm", units },
    ...(output.length === 2 && { returnSequences: true }),
  };
  return network.add(label, fields, [x], {
    kernel: side(inputs),
    recurrentKernel: side(states),
    bias,
  });
};

const reshape = ({ network, label, x, output }: Call): Value => {
  if (elements(output) !== elements(x.shape))
    refuse(label, "shape", `${elements(x.shape)} numbers for each example`, output);
  if (output.join() === x.shape.join()) return x;
  if (output.length === 1) return network.flatten(label, x, false);
  return network.add(label, { type: "reshape", shape: [...output] }, [x]);
};

const pad = (call: Call): Value => {
  const { label, x } = call;
  const { data } = call.numbers(1);
  const side = (axis: number) => [data[2 * axis], data[2 * axis + 1]] as const;
  const last = x.shape.length;
  if (data.length !== 2 * last + 2 || [...side(0), ...side(last)].some((n) => n !== 0) || x.pads)
    refuse(label, "paddings", "zeros around places only", [...data]);
  const pads: Pads = last === 2 ? [[0, 0], side(1)] : [side(1), side(2)];
  return { ...x, pads };
};

const mean = ({ network, label, x, numbers }: Call): Value => {
  const axes = [...numbers(1).data].map((axis) => (axis < 0 ? axis + x.shape.length + 1 : axis));
  const places = x.shape.slice(0, -1).map((_, i) => i + 1);
  if (axes.sort().join() !== places.join()) refuse(label, "axes", "all places", axes);
  return network.add(label, { type: "globalAvgPool" }, [x]);
};

const unary =
  (name: ActivationName) =>
  ({ network, label, x }: Call): Value =>
    network.activation(label, x, name);

export const OPERATORS: Readonly<Record<string, (call: Call) => Value>> = {
  ...{ ADD: several("add", "shift"), MUL: several("multiply", "scale") },
  ...{ FULLY_CONNECTED: fullyConnected, CONV_2D: convolution, DEPTHWISE_CONV_2D: depthwise },
  ...{ AVERAGE_POOL_2D: pool("avgPool"), MAX_POOL_2D: pool("maxPool"), MEAN: mean, PAD: pad },
  ...{
    RELU: unary("relu"),
    RELU6: unary("relu6"),
    TANH: unary("tanh"),
    LOGISTIC: unary("sigmoid"),
  },
  ...{ ELU: unary("elu"), HARD_SWISH: unary("hardSwish") },
  ...{ RESHAPE: reshape, SQUEEZE: reshape, UNIDIRECTIONAL_SEQUENCE_LSTM: lstm },
  LEAKY_RELU: (call) => {
    const alpha = call.options.float(0);
    if (Math.abs(alpha - 0.01) > 1e-6) refuse(call.label, "alpha", "0.01", alpha);
    return unary("leakyRelu")(call);
  },
  SOFTMAX: (call) => {
    if (call.options.float(0, 1) !== 1) refuse(call.label, "beta", "1", call.options.float(0));
    return { ...call.x, softmax: true };
  },
  CONCATENATION: (call) => {
    const { network, label, inputs, options, x } = call;
    const axis = options.int(0);
    if (axis !== -1 && axis !== x.shape.length) refuse(label, "axis", "-1, the channels", axis);
    const all = inputs.filter((value) => value !== undefined);
    return fused(call, 1, network.add(label, { type: "concat" }, all));
  },
};

/** Reads a float TFLite model. @throws ModelError `import`, RangeError where the file is damaged */
export function readTflite(bytes: Uint8Array, options: ImportOptions = {}): Imported {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const model = new Table(view, view.getUint32(0, true));
  const subgraphs = model.tables(2);
  if (subgraphs.length !== 1) refuse("file", "subgraphs", "one", String(subgraphs.length));
  const [main] = subgraphs;
  const [codes, buffers, tensors] = [model.tables(1), model.tables(4), main.tables(0)];
  const [inputs, outputs] = [main.ints(1), main.ints(2)];
  if (inputs.length !== 1 || outputs.length !== 1)
    refuse(
      "file",
      "subgraphs",
      "one input and one output",
      `${inputs.length} and ${outputs.length}`,
    );
  const shapeOf = (i: number) => tensors[i]?.ints(0) ?? refuse("file", "tensors", "a tensor", i);
  const network = graph(shapeOf(inputs[0]).slice(1), options);
  if (tensors[inputs[0]].byte(1) === 9 || tensors[inputs[0]].byte(1) === 3)
    refuse("input", "type", "float32", TYPES[tensors[inputs[0]].byte(1)]);
  const values = new Map<number, Value>([[inputs[0], network.input]]);
  /** Constants that another operator made floats of. */
  const made = new Map<number, FileTensor>();
  main.tables(3).forEach((operator, index) => {
    const code = codes[operator.int(0)];
    const number = code === undefined ? -1 : Math.max(code.int(3), code.byte(0));
    const name = NAMES[number] ?? `operator ${number}`;
    const label = `${index} (${name})`;
    const sources = operator.ints(1);
    const [output] = operator.ints(2);
    const numbers = (i: number): FileTensor =>
      made.get(sources[i]) ??
      numbersOf(`${label}.input ${i}`, tensors[sources[i]], shapeOf(sources[i]), buffers);
    if (name === "DEQUANTIZE") {
      made.set(output, numbers(0));
      return;
    }
    const read = OPERATORS[name];
    if (read === undefined || !Object.hasOwn(OPERATORS, name))
      return refuse(label, "", "an operator among those of docs/interchange.md", name);
    const given = sources.map((i) => values.get(i));
    const x = given.find((value) => value !== undefined);
    if (x === undefined)
      return refuse(label, "inputs", "a tensor that the network computes", sources);
    values.set(
      output,
      read({
        ...{ network, label, x, inputs: given, numbers },
        options: operator.table(4) ?? new Table(EMPTY, 4),
        output: shapeOf(output).slice(1),
        has: (i) => sources[i] !== undefined && sources[i] >= 0,
      }),
    );
  });
  const end = values.get(outputs[0]);
  if (end === undefined)
    return refuse("file", "outputs", "a tensor that the network computes", outputs[0]);
  return network.finish(end, options);
}

/** A table without fields. */
const EMPTY = new DataView(Uint8Array.of(4, 0, 4, 0, 4, 0, 0, 0).buffer);

function numbersOf(
  label: string,
  tensor: Table | undefined,
  shape: readonly number[],
  buffers: readonly Table[],
): FileTensor {
  const buffer = tensor && buffers[tensor.int(2)];
  if (tensor === undefined || buffer === undefined)
    return refuse(label, "", "numbers of the file", "none");
  const bytes = buffer.bytes(0);
  const size = elements(shape);
  const type = tensor.byte(1);
  const width = [4, 2, 4][type];
  if (width === undefined) return refuse(label, "type", "float32", TYPES[type] ?? type);
  if (!(size <= MAX_PARAMETERS) || bytes.length !== size * width)
    return refuse(label, "shape", `${bytes.length / width} numbers`, shape);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = Float32Array.from({ length: size }, (_, i) =>
    type === 0
      ? view.getFloat32(4 * i, true)
      : type === 1
        ? float16(view.getUint16(2 * i, true))
        : view.getInt32(4 * i, true),
  );
  return { shape, data };
}
