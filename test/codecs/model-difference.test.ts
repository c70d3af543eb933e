import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  blobOfHeld,
  follow,
  heldIn,
  differenceForm,
  differenceTo,
} from "../../runtime/codecs/parts/model-difference.js";
import { ModelError } from "../../runtime/errors.js";
import { modelMetadata } from "../../runtime/models/model.js";
import { MODEL, writeBlob } from "../../runtime/tensors/blob.js";
import { random } from "../../runtime/tensors/random.js";
import { tappedModel } from "../aggregator/run/federation.js";
import { layout, reference, tensors } from "./vectors.js";

const form = differenceForm(layout, { block: reference.block });
const MODELS = 5;
const row = <V extends { length: number; slice(from: number, to: number): V }>(
  all: V,
  r: number,
  rows: number,
): V => all.slice((r * all.length) / rows, ((r + 1) * all.length) / rows);

test("differences and what is held after them are those of another program", () => {
  const [master, shadow] = ["master", "shadow"].map((name) => tensors[`broadcast/${name}`]);
  const [q, scale] = ["q", "scale"].map((name) => tensors[`broadcast/${name}`]);
  for (let r = 1; r < MODELS; r++) {
    const held = { layout, metadata: {}, numbers: row(shadow, r - 1, MODELS) as Float32Array };
    const expected = Buffer.concat(
      [row(scale, r - 1, MODELS - 1), row(q, r - 1, MODELS - 1)].map(
        ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
      ),
    );
    const difference = Buffer.concat([form.header, expected]);
    assert.deepEqual(follow(held, difference, form).numbers, row(shadow, r, MODELS));
    // The other program's model is of float64: where it lies between two bytes, a float32 may not.
    const got = differenceTo(held, row(master, r, MODELS) as Float32Array, form)!;
    const others = difference.filter((byte, i) => byte !== got[i]).length;
    assert.ok(others <= 1, `${others} bytes are others`);
  }
});

const model = tappedModel();
const blobWith = (weights: Float32Array, metadata = modelMetadata(model)) =>
  writeBlob(model.layout, { [MODEL]: weights, control: weights }, metadata);

test("what is held stays within half a step of the model, after any number of differences", () => {
  const chance = random("differences");
  let weights = model.weights;
  let held = heldIn(blobWith(weights));
  for (let i = 0; i < 50; i++) {
    weights = weights.map((w) => w + 0.01 * chance.normal());
    const next = heldIn(blobWith(weights)).numbers;
    const most = next.reduce((a, w, k) => Math.max(a, Math.abs(w - held.numbers[k])), 0);
    held = follow(held, differenceTo(held, next)!);
    const halfStep = (1.008 * most) / 127 / 2;
    next.forEach((w, k) => assert.ok(Math.abs(w - held.numbers[k]) <= halfStep + 1e-7));
  }
  // Written again, it has the header of the model.
  assert.equal(blobOfHeld(held).length, blobWith(weights).length);
});

test("a difference that is no float32 has no difference", () => {
  const held = heldIn(blobWith(new Float32Array(model.layout.size).fill(-3e38)));
  assert.equal(
    differenceTo(
      held,
      held.numbers.map(() => 3e38),
    ),
    undefined,
  );
});

test("any change of a difference is followed or refused by name", () => {
  const held = heldIn(blobWith(model.weights));
  const difference = differenceTo(
    held,
    held.numbers.map((w) => w + 1),
  )!;
  fc.assert(
    fc.property(fc.nat(difference.length - 1), fc.nat(255), (at, value) => {
      const bytes = difference.slice();
      bytes[at] = value;
      for (const changed of [bytes, bytes.subarray(0, at)])
        try {
          follow(held, changed);
        } catch (error) {
          assert.ok(error instanceof ModelError && error.code === "layout", String(error));
        }
    }),
    { numRuns: 500 },
  );
});
