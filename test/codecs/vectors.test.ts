import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { codecNamed } from "../../runtime/codecs/built-in.js";
import { onGrid } from "../../runtime/algorithms/vectors.js";
import { readPlaces, writePlaces } from "../../runtime/codecs/parts/largest.js";
import { bytesOf, chanceOf, float32Of, layout, reference, tensors } from "./vectors.js";

const { grid, block, fraction, vectors, codecs } = reference;

/** Bits, so that -0 is not 0. */
const bits = (numbers: Float32Array) => new Uint32Array(numbers.slice().buffer);
const sameBytes = (got: Uint8Array, expected: Uint8Array) =>
  assert.deepEqual(Buffer.from(got), Buffer.from(expected));

const first = { delta: onGrid(float32Of("feedback/deltas"), grid) };
const both = Object.fromEntries(vectors.map((name) => [name, float32Of(`onGrid/${name}`)]));
const chances = () => chanceOf(...vectors.map((name) => tensors[`chance/${name}`]));

/** Each file: the codec, its numbers, and what it holds. */
const FILES: readonly (readonly [
  file: string,
  codec: string,
  settings: Readonly<Record<string, number>> | undefined,
  given: Readonly<Record<string, Float32Array>>,
  chance?: () => number,
])[] = [
  ["bfloat16", "bfloat16", undefined, both],
  ["float16", "float16", undefined, both],
  ["int8", "int8", { block }, both, chances()],
  ["int8-by-parameter", "int8", { block: 0 }, both, chances()],
  ["topk", "topk", { fraction }, first],
  [
    "topk-int8",
    "topk-int8",
    { fraction, block },
    first,
    chanceOf(tensors["feedback/chance"].subarray(0, codecs["topk-int8"].k)),
  ],
  ["randk", "randk", { fraction, scaled: 0 }, first],
  ["randk-scaled", "randk", { fraction, scaled: 1 }, { delta: both.delta }],
  ["sign", "sign", undefined, first],
];

for (const [file, codec, settings, given, chance] of FILES)
  test(`${file}: bytes and numbers are those of another program`, async () => {
    const form = codecNamed(codec).form(layout, Object.keys(given), settings);
    const drawn = await form.draw?.(codecs[file].seed!);
    if (drawn !== undefined) assert.deepEqual(drawn, tensors["randk/indices"]);
    const bytes = bytesOf(`codec-${file}.bin`);
    sameBytes(form.encode(given, { grid, chance, drawn }), bytes);
    for (const [name, numbers] of Object.entries(form.decode(bytes, { grid, drawn })))
      assert.deepEqual(bits(numbers), bits(float32Of(`decoded/${file}/${name}`)));
  });

test("what is given is on the grid as another program puts it there", () => {
  for (const name of vectors)
    assert.deepEqual(onGrid(float32Of(`input/${name}`), grid), float32Of(`onGrid/${name}`));
});

test("places in a long vector are split and put together as by another program", () => {
  const { size, indices, count, offset } = codecs.indices;
  const counts = new Uint32Array(count.length);
  const offsets = new Uint16Array(indices.length);
  writePlaces(Uint32Array.from(indices), counts, offsets);
  assert.deepEqual([...counts], count);
  assert.deepEqual([...offsets], offset);
  assert.deepEqual([...readPlaces(counts, offsets, size)], indices);
});

test("the files are those whose hashes the reference names", () => {
  for (const [file, { sha256 }] of Object.entries(
    codecs as Readonly<Record<string, { readonly sha256?: string }>>,
  ))
    if (sha256 !== undefined)
      assert.equal(
        createHash("sha256")
          .update(bytesOf(`codec-${file}.bin`))
          .digest("hex"),
        sha256,
      );
});
