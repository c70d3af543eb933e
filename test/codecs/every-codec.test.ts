import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import type { Codec } from "../../runtime/codecs/codec.js";
import { ModelError } from "../../runtime/errors.js";
import { layoutOf } from "../../runtime/tensors/layout.js";

const folder = new URL("../../runtime/codecs/", import.meta.url);
const codecs: Codec[] = [];
for (const file of readdirSync(folder).sort())
  if (file.endsWith(".js") && file !== "codec.js")
    for (const value of Object.values(await import(new URL(file, folder).href)))
      codecs.push(value as Codec);

const layouts = fc
  .array(fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 3 }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((shapes) => layoutOf(shapes.map((shape, i) => ({ name: `${i}.kernel`, shape }))));
const names = fc.uniqueArray(fc.constantFrom("delta", "controlChange", "x"), {
  minLength: 1,
});

test("there is at least one codec", () => assert.ok(codecs.length > 0));

for (const codec of codecs) {
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
        const read = codec.decode(bytes, layout, names);
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
        codec.decode(bytes, layout, ["delta"]);
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
}
