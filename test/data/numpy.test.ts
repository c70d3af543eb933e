import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { DataError } from "../../runtime/errors.js";
import { readNpy } from "../../runtime/data/npy.js";
import { datasetsOf, readNpz } from "../../runtime/data/npz.js";
import { readZip } from "../../runtime/data/zip.js";

/** Files that NumPy wrote: test/data/numpy/make.py. */
function file(name: string): Uint8Array {
  return readFileSync(new URL(`../../../test/data/numpy/${name}`, import.meta.url));
}

test("NPY of every type and version reads as NumPy wrote it", () => {
  const expected: Record<string, readonly [number[], number[]]> = {
    u1: [
      [2, 2],
      [0, 255, 7, 8],
    ],
    i1: [[2], [-128, 127]],
    "i2-version2": [[2], [-(2 ** 15), 2 ** 15 - 1]],
    "i4-big-endian-version3": [[2], [-(2 ** 31), 2 ** 31 - 1]],
    i8: [[2], [1 - 2 ** 53, 2 ** 53 - 1]],
    f4: [[2], [Math.fround(0.1), Math.fround(-1e30)]],
    f8: [[2], [0.1, -1e300]],
    scalar: [[], [3.5]],
    fortran: [
      [2, 3],
      [0, 1, 2, 3, 4, 5],
    ],
    "fortran-u1": [[2, 3, 4], Array.from({ length: 24 }, (_, i) => i)],
    f2: [[7], [1, -2.5, 65504, 2 ** -24, -(2 ** -14), 0.333251953125, Infinity]],
  };
  for (const [name, [shape, values]] of Object.entries(expected)) {
    const array = readNpy(name, file(`${name}.npy`));
    assert.deepEqual(array.shape, shape, name);
    assert.deepEqual(
      Array.from({ length: array.length }, (_, i) => array.at(i)),
      values,
      name,
    );
  }
});

test("NPY that is not plain numbers is refused by name", () => {
  const refuse = (name: string, code: string, message: RegExp) =>
    assert.throws(() => readNpy(name, file(`${name}.npy`)), {
      name: "DataError",
      code,
      message,
    });
  refuse("complex", "type", /^"complex" type expected one of .*, got c16$/);
  refuse("record", "type", /^"record" header expected/);
});

test("NPZ, deflated: both halves, people and class names", async () => {
  const arrays = await readNpz("deflated.npz", file("deflated.npz"));
  const { train, test } = datasetsOf("deflated.npz", arrays);
  assert.deepEqual(train?.shape, [3, 4]);
  assert.deepEqual(
    [...train!.inputs],
    Array.from({ length: 24 }, (_, i) => i / 8),
  );
  assert.deepEqual([...train!.labels], [1, 0]);
  assert.deepEqual([...train!.groups!], [5, -7]);
  assert.deepEqual([...test!.labels], [2]);
  assert.deepEqual(
    [...test!.inputs].map((value) => -value),
    Array.from({ length: 12 }, (_, i) => i / 8),
  );
  assert.deepEqual(train!.classes, ["sit", "stand", "gehön"]);
  assert.deepEqual(test!.classes, train!.classes);
});

test("NPZ, stored: grey images of bytes get their channel axis", async () => {
  const arrays = await readNpz("stored.npz", file("stored.npz"));
  const { train, test } = datasetsOf("stored.npz", arrays);
  assert.equal(test, undefined);
  assert.deepEqual(train?.shape, [2, 2, 1]);
  assert.ok(train.inputs instanceof Uint8Array);
  assert.deepEqual([...train.inputs], [0, 1, 2, 3]);
  assert.deepEqual(train.classes, ["0", "1", "2", "3"]);
});

test("NPZ: texts as labels, groups and names, of either byte order and of bytes", async () => {
  const open = async (name: string) => datasetsOf(name, await readNpz(name, file(name))).train!;
  const named = await open("big-endian-names.npz");
  assert.deepEqual(named.classes, ["aa", "bb", "gehön"]);
  const texts = await open("texts.npz");
  assert.deepEqual(texts.classes, ["sit", "stand", "walk"]);
  assert.deepEqual([...texts.labels], [2, 0, 1, 2]);
  assert.deepEqual([...texts.groups!], [1, 0, 0, 1]);
  const bytes = await open("byte-texts.npz");
  assert.deepEqual(bytes.classes, ["sit", "walk"]);
  assert.deepEqual([...bytes.labels], [1, 0]);
});

test("an array that nobody asked for is not looked into", async () => {
  const { train } = datasetsOf("o", await readNpz("o", file("extra-object.npz")));
  assert.deepEqual([...train!.labels], [0, 1]);
});

test("the array that is wrong is the one that is named, with the place", async () => {
  const arrays = await readNpz("nan.npz", file("nan.npz"));
  assert.throws(() => datasetsOf("nan.npz", arrays), {
    code: "not-finite",
    message: '"nan.npz/x" inputs, example 1 at [2, 3] expected finite numbers, got NaN',
  });
});

test("arrays that do not belong together are refused by name", async () => {
  const npy = (header: string, bytes: number[]): Uint8Array => {
    const text = `${header}\n`;
    return Uint8Array.from([
      ...[0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, text.length, 0],
      ...new TextEncoder().encode(text),
      ...bytes,
    ]);
  };
  const array = (name: string, shape: string, bytes: number[], type = "|u1") =>
    readNpy(
      `d.npz/${name}`,
      npy(`{'descr': '${type}', 'fortran_order': False, 'shape': ${shape}, }`, bytes),
    );
  const refuse = (
    arrays: Record<string, ReturnType<typeof array>>,
    message: string,
    classes?: string[],
  ) =>
    assert.throws(() => datasetsOf("d.npz", new Map(Object.entries(arrays)), classes), {
      name: "DataError",
      message,
    });
  const x = array("x", "(2, 1)", [1, 2]);
  refuse({ x }, '"d.npz" arrays expected both x and y, got x');
  assert.deepEqual(
    [...datasetsOf("d.npz", new Map([["x", x]]), ["a"], true).train!.labels],
    [-1, -1],
  );
  refuse(
    { images: x },
    '"d.npz" arrays expected x and y, or x_train, y_train, x_test, y_test, got images',
  );
  refuse(
    { x, y: array("y", "(3,)", [0, 1, 0]) },
    '"d.npz/y" labels expected 2, one per example of x, got 3',
  );
  refuse(
    { x, y: array("y", "(3, 2)", [0, 1, 0, 1, 0, 1]) },
    '"d.npz/y" targets expected numbers, the same count for each of 2 examples of x, got 3x2',
  );
  const { targets, classes } = datasetsOf(
    "d.npz",
    new Map([
      ["x", x],
      ["y", array("y", "(2, 3)", [1, 2, 3, 4, 5, 6])],
    ]),
    ["a", "b", "c"],
  ).train!;
  assert.deepEqual(
    { ...targets, values: [...targets!.values] },
    { kind: "numbers", size: 3, values: [1, 2, 3, 4, 5, 6], columns: ["a", "b", "c"] },
  );
  assert.deepEqual(classes, []);
  refuse(
    { x, y: array("y", "(2,)", [0, 3]) },
    '"d.npz/y" label of example 1 expected an integer from 0 to 1, got 3',
    ["a", "b"],
  );
  refuse(
    { x, y: array("y", "(2,)", [0, 255], "|i1") },
    '"d.npz/y" label of example 1 expected an integer from 0 to 9999, got -1',
  );
  refuse(
    { x, y: array("y", "(2,)", [0, 0, 0, 0, 0, 0, 0xc0, 0x3f], "<f4") },
    '"d.npz/y" label of example 1 expected a class, which is a whole number or a name and no measurement (--target y learns measurements), got 1.5',
  );
  refuse(
    {
      x: array("x", "(2, 1)", [0, 0, 0xc0, 0x7f, 0, 0, 0, 0], "<f4"),
      y: array("y", "(2,)", [0, 1]),
    },
    '"d.npz/x" inputs, example 0 at [0] expected finite numbers, got NaN',
  );
  refuse(
    {
      x,
      y: array("y", "(2,)", [0, 1]),
      group: array("group", "(1,)", [1]),
    },
    '"d.npz/group" groups expected 2, one per example, got 1',
  );
  refuse(
    { x: array("x", "(0, 1)", []), y: array("y", "(0,)", []) },
    '"d.npz/y" examples expected at least one, got none',
  );
});

test("a cut, changed or random NPZ ends in a DataError, never in another error", async () => {
  const whole = file("deflated.npz");
  const open = async (bytes: Uint8Array) => {
    try {
      datasetsOf("z", await readNpz("z", bytes));
    } catch (error) {
      assert.ok(error instanceof DataError, String(error));
      assert.match(error.message, /^"z.*" .*expected .*, got /s);
    }
  };
  for (let cut = 0; cut < whole.length; cut += 7)
    await assert.rejects(readNpz("z", whole.subarray(0, cut)), DataError);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), {
        minLength: 1,
        maxLength: 4,
      }),
      async (changes) => {
        const bytes = Uint8Array.from(whole);
        for (const [at, value] of changes) bytes[at] = value;
        await open(bytes);
      },
    ),
    { numRuns: 300 },
  );
  await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), open));
});

test("a decompression bomb is stopped at its limit", async () => {
  const packed = deflateRawSync(Buffer.alloc(50_000_000));
  const bomb = (claimed: number): Uint8Array => {
    const local = Buffer.alloc(31);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(1, 26);
    const entry = Buffer.alloc(47);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(8, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(claimed, 24);
    entry.writeUInt16LE(1, 28);
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(1, 10);
    end.writeUInt32LE(31 + packed.length, 16);
    return Buffer.concat([local, packed, entry, end]);
  };
  const refused = { name: "DataError", code: "too-large" };
  await assert.rejects(readZip("z", bomb(50_000_000), 1_000_000), refused);
  await assert.rejects(readZip("z", bomb(1000), 1_000_000), refused);
});
