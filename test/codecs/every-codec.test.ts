import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { codecNamed, CODECS, codecSettings, DEFAULT_CODEC } from "../../runtime/codecs/built-in.js";
import type { Codec, Encoding } from "../../runtime/codecs/codec.js";
import { ModelError } from "../../runtime/errors.js";
import { onGrid } from "../../runtime/algorithms/vectors.js";
import { layoutOf, parameterView, type Layout } from "../../runtime/tensors/layout.js";
import { random } from "../../runtime/tensors/random.js";

// Beside the table there are the interface and a file of each codec's own name.
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

/** What is made of a number at most, over the largest of its parameter; Infinity where it may be dropped. */
const LARGEST_ERROR: Readonly<Record<string, number>> = {
  float32: 0,
  float16: 2 ** -11,
  bfloat16: 2 ** -8,
  int8: 1.008 / 127,
};

const GRID = 2 ** -32;
const wild = (layout: Layout, seed: number) => {
  const chance = random("wild", seed);
  const scale = 10 ** (6 * chance.next() - 5);
  const vector = new Float32Array(layout.size).map(() =>
    chance.next() < 0.2 ? 0 : scale * chance.normal(),
  );
  return onGrid(vector, GRID);
};

/** The round as a form of the codec needs it. */
async function roundOf(form: ReturnType<Codec["form"]>, seed = 1): Promise<Encoding> {
  return {
    grid: GRID,
    chance: random("chance", seed).next,
    drawn: await form.draw?.("run/round-1/attempt-1"),
  };
}

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
      message: `"codec" expected ${Object.keys(CODECS).join(" or ")}, got "${name}"`,
    });
});

test("a number that a codec does not have, or one out of its bounds, is refused by name", () => {
  const layout = layoutOf([{ name: "0.kernel", shape: [10, 10] }]);
  const refused = (codec: string, given: Record<string, number>) =>
    assert.throws(
      () => {
        const found = codecNamed(codec);
        found.form(layout, ["delta"], codecSettings(found, given));
      },
      { code: "codec-settings" },
      `${codec} ${JSON.stringify(given)}`,
    );
  refused("float32", { block: 1 });
  refused("int8", { fraction: 0.1 });
  refused("int8", { constructor: 0.1 });
  for (const block of [-1, 0.5, NaN, Infinity, 2 ** 60]) refused("int8", { block });
  for (const fraction of [0, -1, NaN, 0.17, 2]) refused("topk", { fraction });
  for (const fraction of [0, 0.34]) refused("topk-int8", { fraction });
  for (const fraction of [0, 1.1]) refused("randk", { fraction });
  refused("randk", { scaled: 2 });
});

for (const codec of Object.values(CODECS)) {
  test(`${codec.name}: an update has the form announced, and is read as numbers on the grid`, () =>
    fc.assert(
      fc.asyncProperty(layouts, names, fc.integer(), async (layout, names, seed) => {
        const vectors = Object.fromEntries(names.map((name, j) => [name, wild(layout, seed + j)]));
        const form = codec.form(layout, names);
        const round = await roundOf(form, seed);
        const bytes = form.encode(vectors, round);
        assert.equal(bytes.length, form.bytes);
        assert.deepEqual(bytes.subarray(0, form.header.length), form.header);
        const read = form.decode(bytes, round);
        assert.deepEqual(Object.keys(read), names);
        for (const name of names) {
          assert.equal(read[name].length, layout.size);
          for (const x of read[name]) assert.ok(Number.isInteger(x / GRID), `${x}`);
          for (const parameter of layout.parameters) {
            const given = parameterView(vectors[name], parameter);
            const most = given.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
            const error = (LARGEST_ERROR[codec.name] ?? 1) * most + GRID;
            parameterView(read[name], parameter).forEach((x, i) =>
              assert.ok(Math.abs(x - given[i]) <= error, `${given[i]} became ${x}`),
            );
          }
        }
        // The same numbers and the same chance always give the same bytes.
        assert.deepEqual(form.encode(vectors, await roundOf(form, seed)), bytes);
      }),
      { numRuns: 60 },
    ));

  test(`${codec.name}: any other bytes end in a ModelError`, async () => {
    const layout = layoutOf([{ name: "0.kernel", shape: [3, 200] }]);
    const form = codec.form(layout, ["delta"]);
    const round = await roundOf(form);
    const good = form.encode({ delta: wild(layout, 5) }, round);
    const check = (bytes: Uint8Array) => {
      try {
        form.decode(bytes, round);
      } catch (error) {
        assert.ok(error instanceof ModelError, String(error));
        assert.equal(error.code, "layout");
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
      { numRuns: 300 },
    );
  });

  test(`${codec.name}: bytes of another form are refused, and unaligned ones read`, async () => {
    const layout = layoutOf([{ name: "0.kernel", shape: [3, 2] }]);
    const form = codec.form(layout, ["delta"]);
    const round = await roundOf(form);
    const bytes = form.encode({ delta: new Float32Array(6).fill(0.5) }, round);
    for (const other of [bytes.subarray(0, -1), Uint8Array.of(...bytes, 0)])
      assert.throws(() => form.decode(other, round), { code: "layout" });
    const renamed = codec.form(layout, ["dellta"]);
    const other = renamed.encode({ dellta: new Float32Array(6) }, round);
    assert.throws(() => form.decode(other, round), { code: "layout" });
    for (const delta of [undefined, new Float32Array(5)])
      assert.throws(() => form.encode({ delta } as never, round), { code: "layout" });
    // Where the bytes do not begin at a multiple of four the values are the same.
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    assert.deepEqual(form.decode(shifted.subarray(1), round), form.decode(bytes, round));
  });
}

test("hostile scales, bytes, counts and places are refused", () => {
  const layout = layoutOf([{ name: "0.kernel", shape: [300, 300] }]);
  const update = { delta: wild(layout, 3) };
  const refused = (codec: string, at: (bytes: Uint8Array, start: number) => void) => {
    const form = codecNamed(codec).form(layout, ["delta"]);
    const bytes = form.encode(update, { grid: GRID });
    at(bytes, form.header.length);
    assert.throws(() => form.decode(bytes, { grid: GRID }), { code: "layout" }, codec);
  };
  const u16 = (value: number) => (bytes: Uint8Array, start: number) =>
    new DataView(bytes.buffer).setUint16(start, value, true);
  // Infinity, NaN, -1, -0, one off the grid.
  for (const codec of ["int8", "sign"])
    for (const scale of [0x7f80, 0x7fc0, 0xbf80, 0x8000, 0x2f81]) refused(codec, u16(scale));
  refused("int8", (bytes) => (bytes[bytes.length - 1] = 0x80));
  refused("topk-int8", (bytes) => (bytes[bytes.length - 1] = 0x80));
  for (const exponent of [-121, 114, 32767]) refused("float16", u16(exponent));
  refused("float16", (bytes) => u16(0x7c00)(bytes, bytes.length - 2));
  const [k, spans] = [900, 2];
  for (const [codec, counts, offsets] of [
    ["topk", 4 * k, 4 * k + 4 * spans],
    ["topk-int8", 0, 4 * spans + 2 * Math.ceil(k / 256)],
  ] as const) {
    const setCounts = (first: number, second: number) => (bytes: Uint8Array, start: number) => {
      const view = new DataView(bytes.buffer);
      view.setUint32(start + counts, first, true);
      view.setUint32(start + counts + 4, second, true);
    };
    refused(codec, setCounts(0xffffffff, 1));
    refused(codec, setCounts(k, 1));
    refused(codec, setCounts(0, k));
    refused(codec, (bytes, start) => u16(65535)(bytes, start + offsets));
    refused(codec, (bytes, start) => u16(65535)(bytes, start + offsets + 2 * (k - 1)));
    refused(codec, (bytes, start) =>
      bytes.copyWithin(start + offsets + 2, start + offsets, start + offsets + 2),
    );
  }
});

test("int8: 4,000 updates have the mean of what was given", () => {
  const layout = layoutOf([{ name: "0.kernel", shape: [40, 10] }]);
  const given = wild(layout, 9);
  const form = CODECS.int8.form(layout, ["delta"], { block: 64 });
  const chance = random("mean").next;
  const sum = new Float64Array(layout.size);
  const counts = 4000;
  for (let n = 0; n < counts; n++) {
    const { delta } = form.decode(form.encode({ delta: given }, { grid: GRID, chance }));
    for (let i = 0; i < sum.length; i++) sum[i] += delta[i];
  }
  for (let i = 0; i < sum.length; i++) {
    const start = i - (i % 64);
    const most = given.subarray(start, start + 64).reduce((a, x) => Math.max(a, Math.abs(x)), 0);
    const deviation = (1.008 * most) / 127 / (2 * Math.sqrt(counts));
    assert.ok(Math.abs(sum[i] / counts - given[i]) <= 5 * deviation + GRID);
  }
});

test("topk: the numbers of largest size are kept, negative ones too, of equal ones the first", () => {
  const layout = layoutOf([{ name: "0.kernel", shape: [20] }]);
  const form = CODECS.topk.form(layout, ["delta"], { fraction: 0.15 });
  const delta = new Float32Array(20);
  delta.set([-1, 5, -7, 2, 5, 5]);
  const read = form.decode(form.encode({ delta })).delta;
  assert.deepEqual([...read.subarray(0, 6)], [0, 5, -7, 0, 5, 0]);
  // Fewer than k: zeros, the first ones, are kept too.
  const few = new Float32Array(20);
  few[9] = -1;
  assert.deepEqual(form.decode(form.encode({ delta: few })).delta, few);
});

test("sign: -0 is written as what is not below 0, and the smallest number below 0 is not", () => {
  const layout = layoutOf([
    { name: "0.kernel", shape: [5] },
    { name: "1.kernel", shape: [4] },
  ]);
  const form = CODECS.sign.form(layout, ["delta"]);
  const tiny = 2 ** -149;
  const delta = Float32Array.of(0, -0, tiny, -tiny, 5, -1, 1, -0, 2);
  assert.deepEqual([...form.decode(form.encode({ delta })).delta], [1, 1, 1, -1, 1, -1, 1, 1, 1]);
});
