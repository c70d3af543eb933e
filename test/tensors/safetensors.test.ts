import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { ModelError } from "../../runtime/errors.js";
import { readSafetensors, writeSafetensors } from "../../runtime/tensors/safetensors.js";

const vectors = new URL("../../../test/vectors/", import.meta.url);

test("reads every file written by another program, and writes its tensors back", () => {
  for (const file of readdirSync(vectors)) {
    if (!file.endsWith(".safetensors")) continue;
    const { tensors } = readSafetensors(readFileSync(new URL(file, vectors)));
    assert.ok(tensors.size > 3, file);
    const again = readSafetensors(writeSafetensors([...tensors.values()]));
    assert.deepEqual([...again.tensors], [...tensors]);
  }
});

test("a tensor that is not aligned is read from a Node Buffer too", () => {
  const bytes = writeSafetensors([
    { name: "a", shape: [3], data: Float32Array.of(1, 2, 3) },
    { name: "b", shape: [2], data: Float64Array.of(0.5, 0.25) },
  ]);
  const { tensors } = readSafetensors(Buffer.from(bytes));
  assert.deepEqual(tensors.get("b")?.data, Float64Array.of(0.5, 0.25));
});

test("what is written is read back, whatever the names, shapes and metadata", () => {
  const tensor = fc
    .record({
      name: fc.string().filter((name) => name !== "__metadata__"),
      shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
      seed: fc.integer(),
    })
    .map(({ name, shape, seed }) => ({
      name,
      shape,
      data: new Float32Array(shape.reduce((a, b) => a * b, 1)).map((_, i) =>
        Math.fround(Math.sin(seed + i)),
      ),
    }));
  fc.assert(
    fc.property(
      fc.uniqueArray(tensor, { selector: (t) => t.name, maxLength: 6 }),
      fc.dictionary(fc.string(), fc.string()),
      (tensors, metadata) => {
        const { __proto__: _, ...plain } = metadata;
        const file = readSafetensors(writeSafetensors(tensors, plain));
        // By name: the order of tensors without elements is not in the file (JSON keeps names like
        // "0" first).
        const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
        assert.deepEqual(
          [...file.tensors.values()]
            .map(({ name, shape, data }) => ({ name, shape: [...shape], data }))
            .sort(byName),
          [...tensors].sort(byName),
        );
        assert.deepEqual({ ...file.metadata }, { ...plain });
      },
    ),
  );
});

test("any other bytes end in a ModelError", () => {
  const good = writeSafetensors([
    { name: "a", shape: [2, 3], data: new Float32Array(6) },
    { name: "b", shape: [], data: new Int32Array(1) },
  ]);
  const check = (bytes: Uint8Array) => {
    try {
      readSafetensors(bytes);
    } catch (error) {
      assert.ok(error instanceof ModelError, String(error));
    }
  };
  for (let length = 0; length < good.length; length++)
    assert.throws(() => readSafetensors(good.subarray(0, length)), ModelError);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), check));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
      const bytes = good.slice();
      bytes[at] = value;
      check(bytes);
    }),
    { numRuns: 2000 },
  );
});
