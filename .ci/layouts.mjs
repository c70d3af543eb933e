// Writes the full data sets of the compact store beside the repository in the layouts that people hold, with the store's
// own decoders:   node .ci/layouts.mjs STORE OUTPUT      makes cifar-100-binary/, fashion-mnist/, uci-har.npz and
//                                                   tiny-shakespeare/input.txt
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

const [store, output] = process.argv.slice(2);
if (!store || !output) {
  console.error("usage: node layouts.mjs STORE OUTPUT");
  process.exit(2);
}
const decoder = (name) => import(pathToFileURL(resolve(store, name, "decode.mjs")).href);

await writeCifar();
writeFashion();
await writeHar();
writeShakespeare();

async function writeCifar() {
  const from = join(store, "cifar-100");
  const to = join(output, "cifar-100-binary");
  mkdirSync(to, { recursive: true });
  const { decodeSplit } = await decoder("cifar-100");
  for (const half of ["train", "test"])
    writeFileSync(join(to, `${half}.bin`), decodeSplit(from, half).rows);
  const names = JSON.parse(readFileSync(join(from, "labels.json"), "utf8"));
  writeFileSync(join(to, "fine_label_names.txt"), names.fine.join("\n") + "\n");
}

function writeFashion() {
  const from = join(store, "fashion-mnist");
  const to = join(output, "fashion-mnist");
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from))
    if (name.endsWith("-ubyte.gz")) copyFileSync(join(from, name), join(to, name));
  const names = new URL("../examples/data/fashion-mnist/classes.txt", import.meta.url);
  copyFileSync(names, join(to, "classes.txt"));
}

function writeShakespeare() {
  const from = join(store, "tinyshakespeare", "input.txt.gz");
  if (!existsSync(from)) return;
  const to = join(output, "tiny-shakespeare");
  mkdirSync(to, { recursive: true });
  writeFileSync(join(to, "input.txt"), gunzipSync(readFileSync(from)));
}

/**
 * As NPZ: the store's decoder yields arrays [n][9][128]; the layout of the network is [n][128][9].
 */
async function writeHar() {
  const { loadHar } = await decoder("uci-har");
  const { n, x, label, subject, split } = loadHar();
  const files = [];
  for (const [half, flag] of [
    ["train", 0],
    ["test", 1],
  ]) {
    const rows = [...Array(n).keys()].filter((row) => split[row] === flag);
    const windows = new Float32Array(rows.length * 128 * 9);
    rows.forEach((row, k) => {
      for (let channel = 0; channel < 9; channel++)
        for (let time = 0; time < 128; time++)
          windows[(k * 128 + time) * 9 + channel] = x[(row * 9 + channel) * 128 + time];
    });
    const pick = (values) => Uint8Array.from(rows, (row) => values[row]);
    const count = `${rows.length},`;
    files.push(
      [`x_${half}`, npy("<f4", `${rows.length}, 128, 9`, windows)],
      [`y_${half}`, npy("|u1", count, pick(label))],
      [`subject_${half}`, npy("|u1", count, pick(subject))],
    );
  }
  const names = [
    "WALKING",
    "WALKING_UPSTAIRS",
    "WALKING_DOWNSTAIRS",
    "SITTING",
    "STANDING",
    "LAYING",
  ];
  const width = Math.max(...names.map((name) => name.length));
  const points = names.flatMap((name) =>
    Array.from({ length: width }, (_, i) => name.codePointAt(i) ?? 0),
  );
  files.push(["classes", npy(`<U${width}`, `${names.length},`, Uint32Array.from(points))]);
  writeFileSync(join(output, "uci-har.npz"), zip(files));
}

/** An NPY file of version 1 (numpy.lib.format). */
function npy(type, shape, values) {
  const header = `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape}), }`;
  const padded = header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11);
  const start = Buffer.from(`\x93NUMPY\x01\x00..${padded}\n`, "latin1");
  start.writeUInt16LE(padded.length + 1, 8);
  return Buffer.concat([start, Buffer.from(values.buffer, values.byteOffset, values.byteLength)]);
}

/** A ZIP archive of stored files, which is what numpy.savez writes. */
function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, content] of files) {
    const file = Buffer.from(`${name}.npy`);
    // Both headers say, from "version needed" on: version, flags, method, time, date, CRC, sizes,
    // length of the name.
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x21, 8);
    common.writeUInt32LE(crc32(content), 10);
    common.writeUInt32LE(content.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(file.length, 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), common, file]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.from("PK\x01\x02\x14\x00"), common, tail, file);
    parts.push(local, content);
    offset += local.length + content.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06");
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, listed, end]);
}

function crc32(bytes) {
  const table = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    return crc;
  });
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ table[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}
