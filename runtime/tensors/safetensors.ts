import { ModelError } from "../errors.js";
import { elements, shapeText } from "./shape.js";

/** A named tensor of a safetensors file. */
export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array | Int16Array | Uint16Array;
}

/** What a safetensors file holds; tensors in the order of the file. */
export interface TensorFile {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The kinds of numbers in a file of tensors. */
const KINDS = ["F32", "F64", "I32", "U8", "I16", "F16"] as const;
type Kind = (typeof KINDS)[number];

/** What holds each kind's numbers: those above, and what codecs write into updates. */
export const ARRAYS = {
  F32: Float32Array,
  F64: Float64Array,
  I32: Int32Array,
  U8: Uint8Array,
  I16: Int16Array,
  /** Halves, as their bits. */
  F16: Uint16Array,
  BF16: Uint16Array,
  U32: Uint32Array,
  U16: Uint16Array,
  I8: Int8Array,
} as const;

/** The largest header that is read, in bytes: a layout of 10,000 parameters is far below it. */
const MAX_HEADER = 4 * 1024 * 1024;

const kindOf = (data: Tensor["data"]): Kind => KINDS.find((kind) => data instanceof ARRAYS[kind])!;

/**
 * The first bytes of a safetensors file: the length of the header (u64, little endian) and the
 * header itself, padded with spaces to a multiple of 8. The same tensors and metadata always give
 * the same bytes.
 */
export function safetensorsHeader(
  tensors: readonly {
    readonly name: string;
    readonly kind: keyof typeof ARRAYS;
    readonly shape: readonly number[];
  }[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header: [string, unknown][] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0)
    header.push(["__metadata__", Object.fromEntries(keys.map((key) => [key, metadata[key]]))]);
  let offset = 0;
  for (const { name, kind, shape } of tensors) {
    const bytes = elements(shape) * ARRAYS[kind].BYTES_PER_ELEMENT;
    header.push([
      name,
      {
        dtype: kind,
        shape: [...shape],
        data_offsets: [offset, offset + bytes],
      },
    ]);
    offset += bytes;
  }
  // Joined by hand: an object would move names that look like integers to the front.
  const text = `{${header.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`;
  const encoded = new TextEncoder().encode(text);
  const padded = Math.ceil(encoded.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded).fill(0x20, 8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(encoded, 8);
  return bytes;
}

/**
 * Writes a safetensors file (https://github.com/huggingface/safetensors, format version of 2023): tensors in the order given.
 * The same tensors and metadata always give the same bytes, so that the file can be named by its hash.
 * @param into memory for it, taken where it has the right length; tensors may lie in it already, but only where they belong
 */
export function writeSafetensors(
  tensors: readonly Tensor[],
  metadata: Readonly<Record<string, string>> = {},
  into?: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const header = safetensorsHeader(
    tensors.map(({ name, shape, data }) => {
      const kind = kindOf(data);
      const size = elements(shape);
      if (size !== data.length)
        throw new ModelError(
          "safetensors",
          `"${name}" expected ${size} elements for shape ${shapeText(shape)}, got ${data.length}`,
        );
      return { name, kind, shape };
    }),
    metadata,
  );
  const total = tensors.reduce((sum, t) => sum + t.data.byteLength, 0);
  const length = header.length + total;
  const bytes = into?.length === length ? into : new Uint8Array(length);
  bytes.set(header);
  let offset = header.length;
  for (const { data } of tensors) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  return bytes;
}

const fail = (message: string): never => {
  throw new ModelError("safetensors", message);
};

/**
 * How many bytes of a file are enough for `readMetadata`: told by its first 8, at most those that
 * are read of any file.
 */
export function bytesOfHeader(bytes: Uint8Array): number {
  if (bytes.length < 8) return 8;
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  return 8 + Number(length > BigInt(MAX_HEADER) ? MAX_HEADER : length);
}

/**
 * The metadata of a safetensors file, of which only the beginning needs to be there.
 * @throws ModelError `safetensors`
 */
export const readMetadata = (bytes: Uint8Array): TensorFile["metadata"] =>
  metadataOf(readHeader(bytes).header);

function readHeader(bytes: Uint8Array): { readonly start: number; readonly header: object } {
  if (bytes.length < 8) fail(`"file" expected at least 8 bytes, got ${bytes.length}`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(Math.min(MAX_HEADER, bytes.length - 8)))
    fail(
      `"header" expected at most ${Math.min(MAX_HEADER, bytes.length - 8)} bytes, got ${length} (no model's file, or one cut off?)`,
    );
  const start = 8 + Number(length);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, start)));
  } catch {
    fail(`"header" expected JSON, got something else`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    return fail(`"header" expected an object, got ${JSON.stringify(header)}`);
  return { start, header };
}

function metadataOf(header: object): Record<string, string> {
  const metadata: Record<string, string> = Object.create(null);
  const entry = "__metadata__" in header ? header.__metadata__ : {};
  if (typeof entry !== "object" || entry === null)
    return fail(`"__metadata__" expected an object, got ${JSON.stringify(entry)}`);
  for (const [key, value] of Object.entries(entry))
    metadata[key] =
      typeof value === "string"
        ? value
        : fail(`"__metadata__.${key}" expected a string, got ${typeof value}`);
  return metadata;
}

/**
 * Reads a safetensors file. Tensors are views of `bytes` where alignment allows, copies elsewhere.
 * Tensors must lie end to end and fill the file, as the format asks, so nothing can hide between them.
 * @throws ModelError `safetensors` with what is wrong, for any input that is not such a file.
 */
export function readSafetensors(bytes: Uint8Array): TensorFile {
  const { start, header } = readHeader(bytes);
  const metadata = metadataOf(header);
  const spans: {
    name: string;
    kind: Kind;
    shape: number[];
    from: number;
    to: number;
  }[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    spans.push({ name, ...spanOf(name, entry) });
  }
  spans.sort((a, b) => a.from - b.from || a.to - b.to);
  let end = 0;
  for (const { name, from, to } of spans) {
    if (from !== end) fail(`"${name}.data_offsets" expected to begin at ${end}, got ${from}`);
    end = to;
  }
  if (start + end !== bytes.length)
    fail(`"file" expected ${start + end} bytes, got ${bytes.length}`);
  const tensors = new Map<string, Tensor>();
  for (const { name, kind, shape, from, to } of spans) {
    const View = ARRAYS[kind];
    const at = bytes.byteOffset + start + from;
    const data =
      at % View.BYTES_PER_ELEMENT === 0
        ? new View(bytes.buffer as ArrayBuffer, at, (to - from) / View.BYTES_PER_ELEMENT)
        : // Not `slice`, which of a Node Buffer gives a view.
          new View(new Uint8Array(bytes.subarray(start + from, start + to)).buffer);
    tensors.set(name, { name, shape, data });
  }
  return { tensors, metadata };
}

function spanOf(
  name: string,
  entry: unknown,
): { kind: Kind; shape: number[]; from: number; to: number } {
  if (typeof entry !== "object" || entry === null)
    return fail(`"${name}" expected an object, got ${JSON.stringify(entry)}`);
  const {
    dtype,
    shape,
    data_offsets: offsets,
  } = entry as {
    dtype?: unknown;
    shape?: unknown;
    data_offsets?: unknown;
  };
  const kind = KINDS.find((one) => one === dtype);
  if (kind === undefined)
    return fail(
      `"${name}.dtype" expected one of ${KINDS.join(", ")}, got ${JSON.stringify(dtype)}`,
    );
  const whole = (value: unknown): value is number =>
    Number.isSafeInteger(value) && (value as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(whole))
    return fail(`"${name}.shape" expected non-negative integers, got ${JSON.stringify(shape)}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(whole))
    return fail(
      `"${name}.data_offsets" expected two non-negative integers, got ${JSON.stringify(offsets)}`,
    );
  const [from, to] = offsets as [number, number];
  const bytes = elements(shape) * ARRAYS[kind].BYTES_PER_ELEMENT;
  if (to - from !== bytes)
    return fail(
      `"${name}.data_offsets" expected ${bytes} bytes for ${kind} ${shapeText(shape)}, got ${to - from}`,
    );
  return { kind, shape: shape as number[], from, to };
}
