import { elements } from "../tensors/shape.js";
import { sharedArray, unexpected } from "./dataset.js";

/** One NumPy array, read where it lies. */
export interface NpyArray {
  readonly source: string;
  readonly shape: readonly number[];
  /** NumPy's name of the type without its byte order: "u1", "f4", "U12". */
  readonly type: string;
  /** Number of elements. */
  readonly length: number;
  /** Element i in C order, as a number; for text NaN. */
  at(i: number): number;
  /** Where element i in C order begins in `bytes`. */
  place(i: number): number;
  /** The elements' bytes, in the file's order. */
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
}

type Read = (view: DataView, at: number, littleEndian: boolean) => number;
const NUMBERS: Record<string, Read> = {
  b1: (view, at) => view.getUint8(at),
  u1: (view, at) => view.getUint8(at),
  i1: (view, at) => view.getInt8(at),
  u2: (view, at, little) => view.getUint16(at, little),
  i2: (view, at, little) => view.getInt16(at, little),
  u4: (view, at, little) => view.getUint32(at, little),
  i4: (view, at, little) => view.getInt32(at, little),
  u8: (view, at, little) => Number(view.getBigUint64(at, little)),
  i8: (view, at, little) => Number(view.getBigInt64(at, little)),
  f2: (view, at, little) => float16(view.getUint16(at, little)),
  f4: (view, at, little) => view.getFloat32(at, little),
  f8: (view, at, little) => view.getFloat64(at, little),
};

/**
 * Reads an NPY file, versions 1 to 3 (numpy.lib.format), in C or Fortran order.
 * @throws DataError `magic`, `truncated`, `header`, `type` (not a number of at most 8 bytes, nor text), `count`
 */
export function readNpy(source: string, bytes: Uint8Array): NpyArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = "\x93NUMPY";
  if (
    bytes.length < 12 ||
    [...magic].some((letter, i) => bytes[i] !== letter.charCodeAt(0)) ||
    bytes[6] < 1 ||
    bytes[6] > 3
  )
    throw unexpected(
      "magic",
      source,
      "beginning",
      "that of an NPY file of version 1 to 3",
      "another",
    );
  const start = bytes[6] === 1 ? 10 : 12;
  const end = start + (bytes[6] === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (end > bytes.length)
    throw unexpected("truncated", source, "header", `${end} bytes`, String(bytes.length));
  // The header is a Python dict literal that NumPy itself always writes in this form.
  const header = new TextDecoder().decode(bytes.slice(start, end));
  const descr = /'descr':\s*'([<>=|])([a-zA-Z]\d+)'/.exec(header);
  const order = /'fortran_order':\s*(True|False)/.exec(header);
  const dims = /'shape':\s*\(([\d,\sL]*)\)/.exec(header);
  if (!descr || !order || !dims)
    throw unexpected(
      descr ? "header" : "type",
      source,
      "header",
      "descr, fortran_order and shape of a plain array",
      header.trim().slice(0, 120),
    );
  const type = descr[2];
  // A text without letters takes no room in the file, so that nothing bounds their number.
  const text = /^[US][1-9]\d*$/.test(type);
  const read = NUMBERS[type];
  if (!read && !text)
    throw unexpected("type", source, "type", `one of ${Object.keys(NUMBERS).join(", ")}`, type);
  const shape = dims[1]
    .split(",")
    .map((d) => d.trim().replace("L", ""))
    .filter((d) => d !== "")
    .map(Number);
  const length = elements(shape);
  const size = (type.startsWith("U") ? 4 : 1) * Number(type.slice(1));
  if (bytes.length !== end + length * size)
    throw unexpected(
      bytes.length < end + length * size ? "truncated" : "count",
      source,
      "size",
      `${end + length * size} bytes for ${shape.join("x") || "a scalar"} of ${type}`,
      String(bytes.length),
    );
  const littleEndian = descr[1] !== ">";
  const place =
    order[1] === "True" && shape.length > 1
      ? (i: number) => size * fortranPlace(i, shape)
      : (i: number) => size * i;
  return {
    source,
    shape,
    type,
    length,
    at: read ? (i) => read(view, end + place(i), littleEndian) : () => NaN,
    place,
    bytes: bytes.subarray(end),
    littleEndian,
  };
}

/** Where element i in C order (the last axis moves first) lies in Fortran order (the first does). */
function fortranPlace(i: number, shape: readonly number[]): number {
  let place = 0;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    place += i % shape[axis];
    i = Math.floor(i / shape[axis]);
    if (axis > 0) place *= shape[axis - 1];
  }
  return place;
}

/** An IEEE 754 half: a sign, 5 bits of exponent, 10 of fraction. */
export function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0
    ? sign * fraction * 2 ** -24
    : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The array's numbers on shared memory: bytes as bytes, all else as float32. */
export function numbersOf(array: NpyArray): Uint8Array | Float32Array {
  if (isText(array)) throw unexpected("type", array.source, "type", "numbers", "text");
  const values =
    array.type === "u1"
      ? sharedArray(Uint8Array, array.length)
      : sharedArray(Float32Array, array.length);
  for (let i = 0; i < values.length; i++) values[i] = array.at(i);
  return values;
}

/** Whether the elements are texts: of letters (U, UTF-32) or of bytes (S, taken for UTF-8). */
export const isText = ({ type }: NpyArray): boolean => /^[US]/.test(type);

/** The texts of an array, without the zeros behind them. @throws DataError `type` for an array of numbers. */
export function textsOf(array: NpyArray): string[] {
  const { bytes, type, source, length, littleEndian, place } = array;
  if (!isText(array)) throw unexpected("type", source, "type", "text (U or S)", type);
  const width = Number(type.slice(1));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder();
  const letters = (at: number): string => {
    let text = "";
    for (let j = 0; j < width; j++) {
      const point = view.getUint32(at + 4 * j, littleEndian);
      if (point !== 0 && point <= 0x10ffff) text += String.fromCodePoint(point);
    }
    return text;
  };
  return Array.from({ length }, (_, i) => {
    const at = place(i);
    return type.startsWith("U")
      ? letters(at)
      : decoder.decode(bytes.slice(at, at + width)).replace(/\0+$/, "");
  });
}
