// Takes the class-balanced part of Fashion-MNIST that this folder ships: the first 1,200 training and 200 test images of
// each class, in file order.   node make.mjs FOLDER_WITH_THE_FOUR_ORIGINAL_FILES [OUTPUT_FOLDER]
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

const [from, to = fileURLToPath(new URL(".", import.meta.url))] = process.argv.slice(2);
if (!from) {
  console.error("usage: node make.mjs FOLDER [OUTPUT_FOLDER]");
  process.exit(2);
}
for (const [split, perClass] of [
  ["train", 1200],
  ["t10k", 200],
]) {
  const images = `${split}-images-idx3-ubyte.gz`;
  const labels = `${split}-labels-idx1-ubyte.gz`;
  const pixels = gunzipSync(readFileSync(join(from, images)));
  const classes = gunzipSync(readFileSync(join(from, labels)));
  const size = 28 * 28;
  const taken = new Array(10).fill(0);
  const rows = [...classes.subarray(8).keys()].filter(
    (row) => taken[classes[8 + row]]++ < perClass,
  );
  const count = Buffer.alloc(4);
  count.writeUInt32BE(rows.length);
  save(
    images,
    Buffer.concat([
      pixels.subarray(0, 4),
      count,
      pixels.subarray(8, 16),
      ...rows.map((row) => pixels.subarray(16 + row * size, 16 + (row + 1) * size)),
    ]),
  );
  save(
    labels,
    Buffer.concat([
      classes.subarray(0, 4),
      count,
      Buffer.from(rows.map((row) => classes[8 + row])),
    ]),
  );
}

function save(name, bytes) {
  const packed = gzipSync(bytes, { level: 9 });
  writeFileSync(join(to, name), packed);
  console.log(
    `${name}: ${packed.length} bytes, sha256 ${sha256(packed)}; unpacked ${bytes.length} bytes, sha256 ${sha256(bytes)}`,
  );
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}
