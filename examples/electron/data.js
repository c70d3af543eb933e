import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

// In place of this file, an app reads its user's own data. Here every installation draws 500 images
// of its own from the part of Fashion-MNIST that comes with fedflat-cli.

const SIZE = 28 * 28;
const demo = import.meta.resolve("fedflat-cli/package.json");
const folder = new URL("examples/data/fashion-mnist/", demo);

/** The numbers of an IDX file, behind its header. */
const idx = (name, header) =>
  gunzipSync(readFileSync(new URL(`${name}-ubyte.gz`, folder))).subarray(header);

function images(half, from, count) {
  const pixels = idx(`${half}-images-idx3`, 16);
  const labels = idx(`${half}-labels-idx1`, 8);
  const start = from % (labels.length - count);
  return {
    x: new Uint8Array(pixels.subarray(start * SIZE, (start + count) * SIZE)),
    y: [...labels.subarray(start, start + count)],
  };
}

/** Images to train on, which `name` decides; "test" are those to try each model on. */
export function examples(name) {
  if (name === "test") return images("t10k", 0, 200);
  const hash = [...name].reduce((sum, letter) => (31 * sum + letter.codePointAt(0)) % 1_000_003, 7);
  return images("train", hash, 500);
}
