import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { openData } from "../../cli/data.js";
import { readIdx, readIdxPair } from "../../runtime/data/idx.js";
import { inflate } from "../../runtime/data/inflate.js";

const shipped = fileURLToPath(new URL("../../../examples/data/fashion-mnist/", import.meta.url));

/** An IDX file from its type code, shape and big-endian bytes. */
function idx(type: number, shape: number[], bytes: number[]): Uint8Array {
  const dims = shape.flatMap((n) => [n >>> 24, n >>> 16, n >>> 8, n]);
  return Uint8Array.from([0, 0, type, shape.length, ...dims, ...bytes]);
}

test("IDX of every type reads as yann.lecun.com/exdb/mnist describes it", () => {
  const read = (type: number, bytes: number[]) => [...readIdx("f", idx(type, [1], bytes)).values];
  assert.deepEqual(read(0x08, [200]), [200]);
  assert.deepEqual(read(0x09, [200]), [-56]);
  assert.deepEqual(read(0x0b, [0xff, 0xfe]), [-2]);
  assert.deepEqual(read(0x0c, [0, 1, 0, 0]), [65536]);
  assert.deepEqual(read(0x0d, [0x3f, 0xc0, 0, 0]), [1.5]);
  assert.deepEqual(read(0x0e, [0xc0, 0x04, 0, 0, 0, 0, 0, 0]), [-2.5]);
});

test("an IDX pair that is wrong is refused by file and field", () => {
  const images = idx(8, [2, 1, 2], [1, 2, 3, 4]);
  const labels = idx(8, [2], [0, 1]);
  const pair = (a: Uint8Array, b: Uint8Array, classes?: string[]) => () =>
    readIdxPair({ source: "images", bytes: a }, { source: "labels", bytes: b }, classes);
  assert.deepEqual(pair(images, labels)().shape, [1, 2, 1]);
  const refuse = (open: () => unknown, code: string, message: string) =>
    assert.throws(open, { name: "DataError", code, message });
  refuse(
    pair(Uint8Array.of(1, 2, 3, 4), labels),
    "magic",
    '"images" magic number expected an IDX one (0x00000803 for images, 0x00000801 for labels), got 0x01020304',
  );
  refuse(
    pair(Uint8Array.of(), labels),
    "magic",
    '"images" magic number expected an IDX one (0x00000803 for images, 0x00000801 for labels), got 0 bytes',
  );
  refuse(
    pair(images.subarray(0, 10), labels),
    "truncated",
    '"images" header expected 16 bytes, got 10',
  );
  refuse(
    pair(images.subarray(0, 19), labels),
    "truncated",
    '"images" size expected 20 bytes for 2x1x2, got 19',
  );
  refuse(
    pair(idx(8, [0xffffffff, 0xffffffff], []), labels),
    "truncated",
    '"images" size expected 18446744065119617000 bytes for 4294967295x4294967295, got 12',
  );
  refuse(
    pair(images, idx(8, [3], [0, 1, 0])),
    "count",
    '"labels" labels expected 2, one per image of "images", got 3',
  );
  refuse(
    pair(images, labels, ["only"]),
    "label",
    '"labels" label of example 1 expected an integer from 0 to 0, got 1',
  );
  refuse(
    pair(idx(0x0d, [1, 1, 1], [0x7f, 0xc0, 0, 0]), idx(8, [1], [0])),
    "not-finite",
    '"images" inputs, example 0 at [0, 0, 0] expected finite numbers, got NaN',
  );
});

test("gzip that is cut, damaged, not gzip or a bomb is refused", async () => {
  const packed = gzipSync(Buffer.alloc(3_000_000, "fedflat"));
  assert.deepEqual(
    Buffer.from(await inflate("f.gz", packed, "gzip")),
    Buffer.alloc(3_000_000, "fedflat"),
  );
  const refuse = (bytes: Uint8Array, code: string, limit?: number) =>
    assert.rejects(inflate("f.gz", bytes, "gzip", limit), {
      name: "DataError",
      code,
      message: /^"f.gz" .*expected .*, got /,
    });
  await refuse(packed.subarray(0, packed.length - 1), "truncated");
  await refuse(packed.subarray(0, 20), "truncated");
  await refuse(new Uint8Array(), "truncated");
  await refuse(new TextEncoder().encode("not gzip at all"), "corrupt");
  const damaged = Uint8Array.from(packed);
  damaged[damaged.length - 6] ^= 1;
  await refuse(damaged, "corrupt");
  await refuse(packed, "too-large", 2_999_999);
});

test("the shipped part of Fashion-MNIST opens: balanced, named, on shared memory", async () => {
  const { format, train, test } = await openData(shipped);
  assert.equal(format, "idx");
  assert.ok(train && test);
  assert.deepEqual(train.shape, [28, 28, 1]);
  assert.equal(train.classes[9], "Ankle boot");
  for (const [part, perClass] of [
    [train, 1200],
    [test, 200],
  ] as const) {
    const counts = new Array(10).fill(0);
    for (const label of part.labels) counts[label]++;
    assert.deepEqual(counts, new Array(10).fill(perClass));
    assert.ok(part.inputs.buffer instanceof SharedArrayBuffer);
  }
  // node:zlib and a bare offset, beside the reader.
  const raw = gunzipSync(readFileSync(join(shipped, "train-images-idx3-ubyte.gz")));
  const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  assert.equal(sha256(Uint8Array.from(train.inputs)), sha256(raw.subarray(16)));
});

test("a single images file opens its half; what is missing is said", async () => {
  const { train, test } = await openData(join(shipped, "t10k-images-idx3-ubyte.gz"));
  assert.equal(train, undefined);
  assert.equal(test?.labels.length, 2000);

  const folder = mkdtempSync(join(tmpdir(), "fedflat-idx-"));
  try {
    const refuse = (path: string, code: string, message: RegExp) =>
      assert.rejects(openData(path), { name: "DataError", code, message });
    await refuse(folder, "unknown-data", /expected one of .*, got an empty folder$/);
    await refuse(
      join(folder, "nowhere"),
      "unreadable",
      /nowhere" expected readable data, got a path where there is nothing$/,
    );
    writeFileSync(join(folder, "notes.txt"), "hello");
    await refuse(folder, "unknown-data", /images-idx3-ubyte.*, got notes.txt$/);
    writeFileSync(join(folder, "train-images-idx3-ubyte"), "hello");
    await refuse(
      folder,
      "missing",
      /expected train-labels-idx1-ubyte\(.gz\) beside it, got no such file$/,
    );
    writeFileSync(join(folder, "train-labels-idx1-ubyte"), "hello");
    await refuse(folder, "magic", /^"train-images-idx3-ubyte" magic number/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
