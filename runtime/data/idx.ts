import { elements } from "../tensors/shape.js";
import { makeDataset, sharedArray, unexpected, type Dataset } from "./dataset.js";

/**
 * The IDX types (yann.lecun.com/exdb/mnist): code in the magic number -> bytes and how one is read.
 * All big-endian.
 */
const TYPES: Record<
  number,
  readonly [bytes: number, read: (view: DataView, at: number) => number]
> = {
  0x08: [1, (view, at) => view.getUint8(at)],
  0x09: [1, (view, at) => view.getInt8(at)],
  0x0b: [2, (view, at) => view.getInt16(at)],
  0x0c: [4, (view, at) => view.getInt32(at)],
  0x0d: [4, (view, at) => view.getFloat32(at)],
  0x0e: [8, (view, at) => view.getFloat64(at)],
};

/**
 * One IDX file (already unpacked, see `inflate`): its shape and its numbers, bytes as bytes and all
 * else as float32.
 */
export function readIdx(
  source: string,
  bytes: Uint8Array,
): { shape: number[]; values: Uint8Array | Float32Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = bytes.length >= 4 ? view.getUint32(0) : -1;
  const type = magic >>> 16 === 0 ? TYPES[magic >>> 8] : undefined;
  const rank = magic & 0xff;
  if (!type || rank === 0)
    throw unexpected(
      "magic",
      source,
      "magic number",
      "an IDX one (0x00000803 for images, 0x00000801 for labels)",
      bytes.length < 4 ? `${bytes.length} bytes` : `0x${magic.toString(16).padStart(8, "0")}`,
    );
  const header = 4 + 4 * rank;
  if (bytes.length < header)
    throw unexpected("truncated", source, "header", `${header} bytes`, String(bytes.length));
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const count = elements(shape);
  const [size, read] = type;
  if (bytes.length !== header + count * size)
    throw unexpected(
      bytes.length < header + count * size ? "truncated" : "count",
      source,
      "size",
      `${header + count * size} bytes for ${shape.join("x")}`,
      String(bytes.length),
    );
  if (magic >>> 8 === 0x08) {
    const values = sharedArray(Uint8Array, count);
    values.set(bytes.subarray(header));
    return { shape, values };
  }
  const values = sharedArray(Float32Array, count);
  for (let i = 0; i < count; i++) values[i] = read(view, header + i * size);
  return { shape, values };
}

/**
 * A pair of IDX files: inputs of shape [n, height, width] (a channel axis is added), [n, height, width, channels] or
 * [n, features], and labels of shape [n]. Without labels they are -1.
 * @throws DataError
 */
export function readIdxPair(
  images: { source: string; bytes: Uint8Array },
  labels?: { source: string; bytes: Uint8Array },
  classes?: readonly string[],
): Dataset {
  const inputs = readIdx(images.source, images.bytes);
  const targets = labels && readIdx(labels.source, labels.bytes);
  const [count, ...shape] = inputs.shape;
  if (shape.length < 1 || shape.length > 3)
    throw unexpected(
      "shape",
      images.source,
      "dimensions",
      "2 to 4 (examples first)",
      String(inputs.shape.length),
    );
  if (labels && targets && targets.shape.join() !== String(count))
    throw unexpected(
      "count",
      labels.source,
      "labels",
      `${count}, one per image of "${images.source}"`,
      targets.shape.join("x"),
    );
  return makeDataset(labels?.source ?? images.source, {
    shape: shape.length === 2 ? [...shape, 1] : shape,
    inputs: inputs.values,
    inputsFrom: images.source,
    labels: targets?.values,
    classes,
  });
}
