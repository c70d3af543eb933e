import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { readPictures } from "../../cli/pictures.js";
import { crc32 } from "../../runtime/crc.js";
import { readNpy } from "../../runtime/data/npy.js";
import { DataError, ModelError } from "../../runtime/errors.js";
import { parseDescription } from "../../runtime/models/description.js";

// Files whose few bytes promise much: they are refused before the memory for it is taken.

/** Bytes by which the memory outside of the heap may grow. */
const MEMORY = 64e6;

function refused(code: string, message: RegExp, read: () => unknown): void {
  const before = process.memoryUsage().rss;
  assert.throws(
    read,
    (error: Error) =>
      (error instanceof DataError || error instanceof ModelError) &&
      error.code === code &&
      message.test(error.message),
  );
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < MEMORY, `the memory grew by ${grown} bytes`);
}

/** A grey PNG of 28x28 with these bytes for its pixels. */
function png(pixels: Uint8Array, interlaced: number): Uint8Array {
  const chunk = (type: string, data: Uint8Array) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    crc.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, crc]);
  };
  const header = Buffer.from([0, 0, 0, 28, 0, 0, 0, 28, 8, 0, 0, 0, interlaced]);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(pixels)),
    chunk("IEND", new Uint8Array()),
  ]);
}

const picture = (bytes: Uint8Array) => () =>
  readPictures([{ source: "a.png", bytes }], [28, 28, 1]);

test("a PNG that unpacks to more than its size says, interlaced or not", () => {
  const bomb = new Uint8Array(200e6);
  for (const interlaced of [0, 1])
    refused("picture", /pixels of more bytes in place of/, picture(png(bomb, interlaced)));
});

test("a PNG whose pixels end early is not read with zeros for them", () => {
  for (const interlaced of [0, 1])
    refused(
      "picture",
      /pixels of 100 bytes in place of/,
      picture(png(new Uint8Array(100), interlaced)),
    );
});

test("whole PNGs are read, interlaced or not", () => {
  // Adam7 of 28x28: rows of 4, 3, 7, 7, 14, 14, 28 bytes, each after a filter's byte.
  const sizes = [4 * 5, 4 * 4, 3 * 8, 7 * 8, 7 * 15, 14 * 15, 14 * 29];
  const interlaced = sizes.reduce((a, b) => a + b);
  for (const [bytes, kind] of [
    [28 * 29, 0],
    [interlaced, 1],
  ])
    assert.deepEqual(
      picture(png(new Uint8Array(bytes), kind))(),
      new Uint8Array(new SharedArrayBuffer(784)),
    );
});

test("a JPEG of another size is refused by its header", () => {
  const head = "ffd8ffe000040000ffc0001108270f2710031100021100031100ffda";
  refused("shape", /28x28, got 9999x10000/, picture(Buffer.from(head, "hex")));
});

for (const type of ["U0", "S0"])
  test(`four thousand million texts of no letters (${type}) in a file of 128 bytes`, () => {
    const dict = `{'descr': '<${type}', 'fortran_order': False, 'shape': (4000000000,), }`;
    const header = Buffer.from(`\x93NUMPY\x01\x00\x76\x00${dict.padEnd(117)}\n`, "latin1");
    refused("type", /got [US]0/, () => readNpy("a.npy", header));
  });

test("a field of a description that is nested deeper than the stack", () => {
  const units: unknown = JSON.parse("[".repeat(50_000) + "]".repeat(50_000));
  refused("description", /"layers\[0\]\.dense\.units" expected .*, got lists in lists/, () =>
    parseDescription({ input: [4], layers: [{ type: "dense", units }] }),
  );
});
