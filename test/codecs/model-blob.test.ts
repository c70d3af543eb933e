import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { halfModel, wholeModel } from "../../runtime/codecs/parts/model-blob.js";
import { FedflatError } from "../../runtime/errors.js";
import { loadModel, modelMetadata, readCard } from "../../runtime/models/model.js";
import { MODEL, readBlob, writeBlob } from "../../runtime/tensors/blob.js";
import { random } from "../../runtime/tensors/random.js";
import { tappedModel } from "../aggregator/run/federation.js";
import { float32Of, layout } from "./vectors.js";

const model = tappedModel();
const chance = random("model blob");
const drawn = () => new Float32Array(model.layout.size).map(() => chance.normal());

test("a model of halves is half as long, and read as a model within 2^-11 of each number", () => {
  const vectors = { [MODEL]: drawn(), control: drawn() };
  const blob = writeBlob(model.layout, vectors, modelMetadata(model));
  const half = halfModel(blob, ["model", "control"]);
  const data = (file: Uint8Array) =>
    file.length - 8 - Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  assert.equal(data(half), data(blob) / 2 + 2 * 2 * model.layout.parameters.length);
  assert.deepEqual(readCard(half), readCard(blob));
  const whole = wholeModel(half);
  // The header is that of the model itself, so that nothing else of a client knows of halves.
  assert.deepEqual(loadModel(whole).description, model.description);
  const read = readBlob(whole, model.layout, [MODEL, "control"]);
  for (const [name, given] of Object.entries(vectors))
    given.forEach((x, i) =>
      assert.ok(Math.abs(read[name][i] - x) <= 2 ** -11 * Math.abs(x) + 2 ** -24),
    );
  // Rounding again changes nothing, and a blob of float32 is left alone.
  assert.deepEqual(halfModel(whole, ["model", "control"]), half);
  assert.equal(wholeModel(blob), blob);
});

test("the numbers of a model of halves are those of the update codec, which another program computed", () => {
  const given = float32Of("onGrid/delta");
  const blob = writeBlob(layout, { [MODEL]: given });
  const read = readBlob(wholeModel(halfModel(blob, ["model"])), layout, [MODEL]);
  assert.deepEqual(read[MODEL], float32Of("decoded/float16/delta"));
});

test("any change of a model of halves is read or refused by name", () => {
  const half = halfModel(writeBlob(model.layout, { [MODEL]: drawn() }, modelMetadata(model)), [
    "model",
  ]);
  fc.assert(
    fc.property(fc.nat(half.length - 1), fc.nat(255), (at, value) => {
      const bytes = half.slice();
      bytes[at] = value;
      for (const changed of [bytes, bytes.slice(0, at)])
        try {
          loadModel(wholeModel(changed));
        } catch (error) {
          assert.ok(error instanceof FedflatError, String(error));
        }
    }),
    { numRuns: 500 },
  );
});
