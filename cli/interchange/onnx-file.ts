import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { float16 } from "../../runtime/data/npy.js";
import { elements } from "../../runtime/tensors/shape.js";
import { MAX_PARAMETERS, refuse } from "./imported.js";

// The few messages of ONNX's onnx.proto that a network needs, by field number. Bytes are views of
// the file: nothing is copied before its length is known to lie in the file.

/** A tensor that stands in the file: floats, or whole numbers. */
export interface OnnxTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | bigint[];
}

export type Attribute =
  number | bigint | string | OnnxTensor | readonly (number | bigint | string)[];

export interface OnnxNode {
  readonly label: string;
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface OnnxInput {
  readonly name: string;
  /** 0 where the size has a name instead of a number; nothing where there is no shape. */
  readonly shape?: readonly number[];
}

export interface OnnxFile {
  readonly opset: number;
  readonly nodes: readonly OnnxNode[];
  readonly tensors: ReadonlyMap<string, OnnxTensor>;
  readonly inputs: readonly OnnxInput[];
  readonly outputs: readonly string[];
  /** Texts that the writer put beside the network. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** How the keys of our own metadata begin. */
export const NOTED = "fedflat.";

type Raw = bigint | Uint8Array;
type Message = ReadonlyMap<number, readonly Raw[]>;

/** A message's fields, undecoded: whole numbers, or bytes. */
function message(bytes: Uint8Array, what: string): Message {
  const fields = new Map<number, Raw[]>();
  const reader = new BinaryReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const [field, wire] = reader.tag();
      let value: Raw;
      if (wire === WireType.Varint) value = BigInt(reader.int64());
      else if (wire === WireType.LengthDelimited) value = reader.bytes();
      else {
        const from = reader.pos;
        reader.skip(wire, field);
        value = bytes.subarray(from, reader.pos);
      }
      const known = fields.get(field);
      if (known) known.push(value);
      else fields.set(field, [value]);
    }
  } catch (error) {
    refuse(what, "", "a protobuf message of ONNX", (error as Error).message);
  }
  return fields;
}

const last = (m: Message, field: number): Raw | undefined => m.get(field)?.at(-1);

const parts = (m: Message, field: number): Uint8Array[] =>
  (m.get(field) ?? []).filter((raw): raw is Uint8Array => raw instanceof Uint8Array);

const decoder = new TextDecoder();
const text = (m: Message, field: number): string => {
  const raw = last(m, field);
  return raw instanceof Uint8Array ? decoder.decode(raw) : "";
};
const texts = (m: Message, field: number) => parts(m, field).map((raw) => decoder.decode(raw));

function whole(raw: Raw | undefined, what: string): number {
  if (raw === undefined) return 0;
  if (typeof raw !== "bigint" || raw > BigInt(Number.MAX_SAFE_INTEGER) || raw < -(2n ** 53n))
    return refuse(what, "", "a whole number", raw);
  return Number(raw);
}

/** Repeated whole numbers, packed or not. */
function integers(m: Message, field: number): bigint[] {
  const all: bigint[] = [];
  for (const raw of m.get(field) ?? [])
    if (typeof raw === "bigint") all.push(raw);
    else {
      const reader = new BinaryReader(raw);
      while (reader.pos < reader.len) all.push(BigInt(reader.int64()));
    }
  return all;
}

/** Repeated float32 or float64, packed or not. */
function reals(m: Message, field: number, width: 4 | 8): Float32Array {
  const chunks = parts(m, field);
  const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
  const to = new Float32Array(Math.floor(bytes / width));
  let at = 0;
  for (const chunk of chunks) {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let from = 0; from + width <= chunk.length; from += width)
      to[at++] = width === 4 ? view.getFloat32(from, true) : view.getFloat64(from, true);
  }
  return to;
}

const TYPES: Readonly<Record<number, string>> = {
  ...{ 1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64" },
  ...{ 8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64" },
  16: "bfloat16",
};

/** A TensorProto: how ONNX' own tests keep inputs and outputs, too. */
export function readTensor(bytes: Uint8Array, what = "tensor"): OnnxTensor {
  const m = message(bytes, what);
  const name = text(m, 8);
  const label = name === "" ? what : name;
  const shape = integers(m, 1).map((size) => whole(size, label));
  if (shape.length > 8 || shape.some((size) => size < 0))
    refuse(label, "dims", "up to eight sizes", shape);
  const size = elements(shape);
  if (!(size <= MAX_PARAMETERS)) refuse(label, "dims", `at most ${MAX_PARAMETERS} numbers`, shape);
  if (whole(last(m, 14), label) === 1 || m.has(13))
    refuse(label, "data_location", "numbers inside the file", "another file (external data)");
  const type = whole(last(m, 2), label);
  const data = numbersOf(m, type, label);
  if (data.length !== size) refuse(label, "dims", `sizes for ${data.length} numbers`, shape);
  return { name, shape, data };
}

function numbersOf(m: Message, type: number, label: string): Float32Array | bigint[] {
  const raw = last(m, 9);
  const bytes = raw instanceof Uint8Array && raw.length > 0 ? raw : undefined;
  const view = bytes && new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const each = <T>(width: number, read: (at: number) => T): T[] =>
    Array.from({ length: Math.floor(bytes!.length / width) }, (_, i) => read(i * width));
  switch (type) {
    case 1:
      return bytes ? reals(new Map([[4, [bytes]]]), 4, 4) : reals(m, 4, 4);
    case 11:
      return bytes ? reals(new Map([[10, [bytes]]]), 10, 8) : reals(m, 10, 8);
    case 10:
      return Float32Array.from(
        view ? each(2, (at) => view.getUint16(at, true)) : integers(m, 5).map(Number),
        float16,
      );
    case 7:
      return view ? each(8, (at) => view.getBigInt64(at, true)) : integers(m, 7);
    case 6:
      return view ? each(4, (at) => BigInt(view.getInt32(at, true))) : integers(m, 5);
    case 9:
      return view ? each(1, (at) => BigInt(view.getUint8(at))) : integers(m, 5);
    default:
      return refuse(
        label,
        "data_type",
        "float32, float16 or float64, or int32, int64 or bool for shapes and the like (weights that are quantised do not learn)",
        TYPES[type] ?? type,
      );
  }
}

function attributeOf(bytes: Uint8Array, node: string): [string, Attribute] {
  const m = message(bytes, node);
  const name = text(m, 1);
  const type = whole(last(m, 20), `${node}.${name}`);
  if (type === 1 || (type === 0 && m.has(2))) return [name, reals(m, 2, 4)[0] ?? 0];
  if (type === 2 || (type === 0 && m.has(3))) {
    const raw = last(m, 3);
    return [name, typeof raw === "bigint" ? raw : 0n];
  }
  if (type === 3 || (type === 0 && m.has(4))) return [name, text(m, 4)];
  if (type === 4 || (type === 0 && m.has(5))) {
    const tensor = last(m, 5);
    if (tensor instanceof Uint8Array) return [name, readTensor(tensor, `${node}.${name}`)];
  }
  if (type === 6 || m.has(7)) return [name, [...reals(m, 7, 4)]];
  if (type === 7 || m.has(8)) return [name, integers(m, 8)];
  if (type === 8 || m.has(9)) return [name, texts(m, 9)];
  if (type === 5 || type === 10 || m.has(6))
    return refuse(node, name, "no control flow", "a graph inside");
  return [name, []];
}

function nodeOf(bytes: Uint8Array, index: number): OnnxNode {
  const m = message(bytes, `node ${index}`);
  const op = text(m, 4);
  const label = `${text(m, 3) || `node ${index}`} (${op})`;
  if (["If", "Loop", "Scan"].includes(op)) refuse(label, "", "no control flow", op);
  const attributes: Record<string, Attribute> = Object.create(null);
  for (const part of parts(m, 5)) {
    const [name, value] = attributeOf(part, label);
    attributes[name] = value;
  }
  const domain = text(m, 7);
  if (domain !== "" && domain !== "ai.onnx")
    refuse(label, "domain", "an operator of ONNX itself", domain);
  return { label, op, inputs: texts(m, 1), outputs: texts(m, 2), attributes };
}

function inputOf(bytes: Uint8Array): OnnxInput {
  const m = message(bytes, "input");
  const name = text(m, 1);
  const type = parts(m, 2).at(-1);
  const tensor = type && parts(message(type, name), 1).at(-1);
  const shape = tensor && parts(message(tensor, name), 2).at(-1);
  if (shape === undefined) return { name };
  const sizes = parts(message(shape, name), 1).map((dimension) =>
    whole(last(message(dimension, name), 1), name),
  );
  return { name, shape: sizes.map((size) => (size > 0 ? size : 0)) };
}

/** A model's file as nodes and tensors. @throws ModelError `import` */
export function readOnnxFile(bytes: Uint8Array): OnnxFile {
  const model = message(bytes, "file");
  const graph = parts(model, 7).at(-1);
  if (graph === undefined) return refuse("file", "graph", "an ONNX model", "none");
  const opsets = parts(model, 8).map((part) => message(part, "opset_import"));
  const own = opsets.find((m) => ["", "ai.onnx"].includes(text(m, 1)));
  const opset = own === undefined ? 1 : whole(last(own, 2), "opset_import");
  const m = message(graph, "graph");
  const nodes = parts(m, 1);
  if (nodes.length > 20_000) refuse("file", "graph", "at most 20000 nodes", nodes.length);
  const tensors = new Map<string, OnnxTensor>();
  for (const part of parts(m, 5)) {
    const tensor = readTensor(part);
    tensors.set(tensor.name, tensor);
  }
  if (m.has(15)) refuse("file", "sparse_initializer", "dense tensors", "sparse ones");
  return {
    opset,
    nodes: nodes.map(nodeOf),
    tensors,
    inputs: parts(m, 11).map(inputOf),
    outputs: parts(m, 12).map((part) => text(message(part, "output"), 1)),
    metadata: new Map(
      parts(model, 14).map((part) => {
        const entry = message(part, "metadata_props");
        return [text(entry, 1), text(entry, 2)];
      }),
    ),
  };
}

/** Whether bytes begin like a model's file: a version, then fields that ModelProto has. */
export function looksLikeOnnx(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x08 || bytes.length < 4) return false;
  try {
    const reader = new BinaryReader(bytes);
    reader.tag();
    const version = reader.uint32();
    const [field] = reader.tag();
    return version >= 1 && version < 100 && field <= 25;
  } catch {
    return false;
  }
}

/** Writes a message: `fill` puts its fields. */
export const encode = (fill: (writer: BinaryWriter) => void): Uint8Array => {
  const writer = new BinaryWriter();
  fill(writer);
  return writer.finish();
};
