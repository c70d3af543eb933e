import assert from "node:assert/strict";
import { test } from "node:test";
import { sharedModels } from "../../cli/loadtest/shared-models.js";
import { halfModel } from "../../runtime/codecs/parts/model-blob.js";
import { BASE, writeBase } from "../../runtime/models/base.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialModel } from "../../runtime/models/initial.js";
import { modelMetadata } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { takeShare } from "../../runtime/models/shares.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import { MODEL, writeBlob } from "../../runtime/tensors/blob.js";

const description = parseDescription({
  input: [4],
  layers: [
    { type: "dense", units: 5, frozen: true },
    { type: "dense", units: 3 },
  ],
});
const model = initialModel({ description, classes: ["a", "b", "c"] }, "1");
const { shared, fixed } = networkOf(description).shares;
const base = writeBase(model)!;
const nameOf = (bytes: Uint8Array) => ({ sha256: sha256Hex(bytes), bytes: bytes.length });
const metadata = { ...modelMetadata(model), [BASE]: JSON.stringify(nameOf(base)) };
const rounds = [1, 2].map((round) =>
  writeBlob(shared.layout, { [MODEL]: new Float32Array(shared.layout.size).fill(round) }, metadata),
);

/** A client's line to an aggregator that has these blobs, and what it was asked for. */
function lineTo(blobs: readonly Uint8Array[], wanted: string[]): { fetch: Fetch } {
  return {
    async fetch({ sha256 }, sink) {
      wanted.push(sha256);
      sink(
        blobs.find((bytes) => sha256Hex(bytes) === sha256)!,
        0,
      );
    },
  };
}
type Fetch = Parameters<ReturnType<typeof sharedModels>["fetch"]>[0]["fetch"];

test("a base is fetched once for the whole fleet, and each round's model by every client", async () => {
  const models = sharedModels();
  const wanted: string[] = [];
  const lines = [1, 2, 3].map(() => lineTo([base, ...rounds], wanted));
  for (const [i, round] of rounds.entries())
    for (const { model: loaded } of await Promise.all(
      lines.map((line) => models.fetch(line, nameOf(round))),
    )) {
      assert.deepEqual(takeShare(fixed, loaded.weights), takeShare(fixed, model.weights));
      assert.ok(takeShare(shared, loaded.weights).every((value) => value === i + 1));
    }
  const times = (bytes: Uint8Array) => wanted.filter((name) => name === sha256Hex(bytes)).length;
  assert.deepEqual([base, ...rounds].map(times), [1, 3, 3]);
});

test("a base of other bytes is refused, and asked for again", async () => {
  const models = sharedModels();
  const other = base.map((byte, i) => (i === base.length - 1 ? byte ^ 1 : byte));
  const wrong: { fetch: Fetch } = {
    fetch: async ({ sha256 }, sink) => sink(sha256 === sha256Hex(base) ? other : rounds[0], 0),
  };
  await assert.rejects(models.fetch(wrong, nameOf(rounds[0])), { code: "hash" });
  const { model: loaded } = await models.fetch(lineTo([base, ...rounds], []), nameOf(rounds[0]));
  assert.deepEqual(takeShare(fixed, loaded.weights), takeShare(fixed, model.weights));
});

test("a model of halves is widened as the real client does", async () => {
  const values = Float32Array.from({ length: shared.layout.size }, (_, i) => i / 8 - 2);
  const half = halfModel(writeBlob(shared.layout, { [MODEL]: values }, metadata), ["model"]);
  const { model: loaded } = await sharedModels().fetch(lineTo([base, half], []), nameOf(half));
  assert.deepEqual(takeShare(shared, loaded.weights), values);
});
