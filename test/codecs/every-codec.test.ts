import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { codecNamed, CODECS, DEFAULT_CODEC } from "../../runtime/codecs/built-in.js";
import { ModelError } from "../../runtime/errors.js";
import { layoutOf } from "../../runtime/tensors/layout.js";

// Besides the table there are the interface and a file of each codec's own name.
const files = readdirSync(new URL("../../runtime/codecs/", import.meta.url))
  .filter((file) => file.endsWith(".js"))
  .map((file) => file.slice(0, -3))
  .filter((name) => name !== "codec" && name !== "built-in");

const layouts = fc
  .array(fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 3 }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((shapes) => layoutOf(shapes.map((shape, i) => ({ name: `${i}.kernel`, shape }))));
const names = fc.uniqueArray(fc.constantFrom("delta", "controlChange", "x"), {
  minLength: 1,
});

test("each codec's file has its row in the table, under its name", () => {
  assert.ok(files.length > 0);
  assert.deepEqual(Object.keys(CODECS).sort(), files.sort());
  for (const [name, codec] of Object.entries(CODECS)) assert.equal(codec.name, name);
  assert.ok(Object.hasOwn(CODECS, DEFAULT_CODEC));
});

test("a codec that no row has is refused, also one named like what every object has", () => {
  for (const name of ["other", "constructor", "__proto__"])
    assert.throws(() => codecNamed(name), {
      name: "ModelError",
      code: "codec",
      message: `"codec" expected float32, got "${name}"`,
    });
});

for (const codec of Object.values(CODECS)) {
  test(`${codec.name}: an update has the form announced and is read back`, () => {
    fc.assert(
      fc.property(layouts, names, fc.integer(), (layout, names, seed) => {
        const vectors = Object.fromEntries(
          names.map((name, j) => [
            name,
            new Float32Array(layout.size).map((_, i) => Math.sin(seed + 7 * j + i)),
          ]),
        );
        const bytes = codec.encode(layout, vectors);
        const form = codec.form(layout, names);
        assert.equal(bytes.length, form.bytes);
        assert.deepEqual(bytes.subarray(0, form.header.length), form.header);
        const read = form.decode(bytes);
        for (const name of names)
          for (let i = 0; i < layout.size; i++)
            assert.ok(Math.abs(read[name][i] - vectors[name][i]) <= 1e-2);
      }),
    );
  });

  test(`${codec.name}: any other bytes end in a ModelError`, () => {
    const layout = layoutOf([{ name: "0.kernel", shape: [3, 2] }]);
    const good = codec.encode(layout, { delta: new Float32Array(6) });
    const check = (bytes: Uint8Array) => {
      try {
        codec.form(layout, ["delta"]).decode(bytes);
      } catch (error) {
        assert.ok(error instanceof ModelError, String(error));
      }
    };
    fc.assert(fc.property(fc.uint8Array(), check));
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
        const bytes = good.slice();
        bytes[at] = value;
        check(bytes);
        check(bytes.subarray(0, at));
      }),
    );
  });

  test(`${codec.name}: bytes of another form are refused, and unaligned ones read`, () => {
    const layout = layoutOf([{ name: "0.kernel", shape: [3, 2] }]);
    const form = codec.form(layout, ["delta"]);
    const bytes = codec.encode(layout, { delta: new Float32Array(6).fill(0.5) });
    for (const other of [bytes.subarray(0, -1), Uint8Array.of(...bytes, 0)])
      assert.throws(() => form.decode(other), { code: "layout" });
    const renamed = codec.encode(layout, { dellta: new Float32Array(6) });
    assert.throws(() => form.decode(renamed), { code: "layout" });
    // Where the bytes do not begin at a multiple of four the values are the same.
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    assert.deepEqual(form.decode(shifted.subarray(1)), form.decode(bytes));
  });
}
