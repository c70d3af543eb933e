import { createRequire } from "node:module";
import { inflateSync } from "node:zlib";
import { sharedArray, unexpected } from "../runtime/data/dataset.js";

/** Names of files with pictures that can be read. */
export const PICTURE = /\.(png|jpe?g)$/i;

/** Red, green, blue and transparency of each pixel, a byte each, row by row. */
interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/**
 * PNG and JPEG files as examples of one shape, [height, width, 1 or 3], values 0 to 255. A picture
 * in colour becomes grey by its luminance (ITU-R BT.601) where the shape has one channel;
 * transparency is left out. Nothing is scaled.
 * @throws DataError `picture` for a file that is none, `shape` for one of another size
 */
export function readPictures(
  files: readonly { readonly source: string; readonly bytes: Uint8Array }[],
  shape: readonly number[],
): Uint8Array {
  const [height, width, channels] = shape;
  const all = files[0]?.source ?? "";
  if (shape.length !== 3 || (channels !== 1 && channels !== 3))
    throw unexpected(
      "shape",
      all,
      "a model",
      "of pictures, height x width x 1 or 3",
      shape.join("x"),
    );
  const size = height * width * channels;
  const inputs = sharedArray(Uint8Array, files.length * size);
  files.forEach(({ source, bytes }, i) => {
    const picture = pixelsOf(source, bytes, [height, width]);
    const { data } = picture;
    for (let pixel = 0, to = i * size; pixel < height * width; pixel++) {
      const [r, g, b] = [data[4 * pixel], data[4 * pixel + 1], data[4 * pixel + 2]];
      if (channels === 1) inputs[to++] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
      else {
        inputs[to++] = r;
        inputs[to++] = g;
        inputs[to++] = b;
      }
    }
  });
  return inputs;
}

const require = createRequire(import.meta.url);

function pixelsOf(source: string, bytes: Uint8Array, size: readonly [number, number]): Pixels {
  const check = (height: number, width: number) => {
    if (height !== size[0] || width !== size[1])
      throw unexpected("shape", source, "a picture", size.join("x"), `${height}x${width}`);
  };
  const isPng = bytes.length > 24 && bytes[0] === 0x89 && bytes[1] === 0x50;
  // The size stands in the header: a picture of another one is not unpacked.
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isPng) check(view.getUint32(20), view.getUint32(16));
  else jpegSizes(view).forEach(([height, width]) => check(height, width));
  let picture: Pixels;
  try {
    picture = isPng ? readPng(bytes) : readJpeg(bytes);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw unexpected("picture", source, "the file", "PNG or JPEG", `something else (${reason})`);
  }
  check(picture.height, picture.width);
  return picture;
}

// Loaded when a picture is there: few commands meet one.
function readPng(bytes: Uint8Array): Pixels {
  const { PNG } = require("pngjs") as typeof import("pngjs");
  checkPixels(bytes);
  return PNG.sync.read(Buffer.from(bytes));
}

/** Numbers of a pixel by the header's type of colour. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** First column and row, and steps, of the passes of an interlaced picture (PNG, 8.2). */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/**
 * Checks that the pixels unpack to as many bytes as the header says: the decoder takes a few
 * thousand times a file's size for an interlaced bomb, and zeros for what is missing.
 */
function checkPixels(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const bits = bytes[24] * (CHANNELS[bytes[25]] ?? 0);
  const passes = bytes[28] === 1 ? ADAM7 : [[0, 0, 1, 1]];
  let expected = 0;
  for (const [x, y, dx, dy] of passes) {
    const columns = Math.max(0, Math.ceil((width - x) / dx));
    const rows = Math.max(0, Math.ceil((height - y) / dy));
    if (columns > 0) expected += rows * (1 + Math.ceil((columns * bits) / 8));
  }
  const parts: Uint8Array[] = [];
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const isPixels = view.getUint32(at + 4) === 0x49444154;
    if (isPixels) parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  let got: number | "more";
  try {
    got = inflateSync(Buffer.concat(parts), { maxOutputLength: expected }).length;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_BUFFER_TOO_LARGE") throw error;
    got = "more";
  }
  if (got !== expected) throw new Error(`pixels of ${got} bytes in place of ${expected}`);
}

/** Height and width in each frame header of a JPEG file. */
function jpegSizes(view: DataView): [height: number, width: number][] {
  const sizes: [number, number][] = [];
  for (let at = 2; at + 9 <= view.byteLength && view.getUint8(at) === 0xff;) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at++;
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) sizes.push([view.getUint16(at + 5), view.getUint16(at + 7)]);
    // What follows a scan's header has no length of its own.
    if (marker === 0xda) break;
    at += 2 + view.getUint16(at + 2);
  }
  return sizes;
}

function readJpeg(bytes: Uint8Array): Pixels {
  const { decode } = require("jpeg-js") as typeof import("jpeg-js");
  return decode(bytes, { useTArray: true, maxResolutionInMP: 100, maxMemoryUsageInMB: 512 });
}
