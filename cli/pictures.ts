import { createRequire } from "node:module";
import { sharedBuffer, unexpected } from "../runtime/data/dataset.js";

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
  const inputs = new Uint8Array(sharedBuffer(files.length * size));
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
  // The size stands in the first chunk: a picture of another one is not unpacked.
  if (isPng) {
    const header = new DataView(bytes.buffer, bytes.byteOffset);
    check(header.getUint32(20), header.getUint32(16));
  }
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
  return PNG.sync.read(Buffer.from(bytes));
}

function readJpeg(bytes: Uint8Array): Pixels {
  const { decode } = require("jpeg-js") as typeof import("jpeg-js");
  return decode(bytes, { useTArray: true, maxResolutionInMP: 100, maxMemoryUsageInMB: 512 });
}
