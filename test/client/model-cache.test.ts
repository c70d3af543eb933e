import assert from "node:assert/strict";
import { test } from "node:test";
import { modelCache } from "../../runtime/client/model-cache.js";
import {
  blobOfHeld,
  follow,
  heldIn,
  differenceTo,
} from "../../runtime/codecs/parts/model-difference.js";
import { BASE, writeBase } from "../../runtime/models/base.js";
import { initialModel } from "../../runtime/models/initial.js";
import { modelMetadata } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import type { StateStore } from "../../runtime/platform/platform.js";
import { MODEL, writeBlob } from "../../runtime/tensors/blob.js";
import { tinyModel } from "../aggregator/run/federation.js";
import { sha256 } from "../aggregator/run/raw-client.js";

// Models that an aggregator sends as differences, and what a client fetches of them.

const model = tinyModel(400);
const first = writeBlob(model.layout, { [MODEL]: model.weights }, modelMetadata(model));

/** Models one after the other, each with the difference that leads to it. */
const chain = [{ bytes: first, difference: undefined as Uint8Array<ArrayBuffer> | undefined }];
for (let i = 0; i < 4; i++) {
  const held = heldIn(chain[i].bytes);
  const difference = differenceTo(
    held,
    held.numbers.map((w, k) => w + Math.sin(k + i)),
  )!;
  chain.push({ bytes: blobOfHeld(follow(held, difference)), difference });
}
const nameOf = (bytes: Uint8Array) => ({ sha256: sha256(bytes), bytes: bytes.length });
const names = chain.map(({ bytes }) => nameOf(bytes));
const differences = chain
  .slice(1)
  .map(({ difference }, i) => ({ base: names[i].sha256, ...nameOf(difference!) }));

/** A cache whose aggregator has these blobs, and what was fetched of them. */
function cacheOf(
  blobs = chain.flatMap(({ bytes, difference }) => [bytes, difference ?? bytes]),
  store?: StateStore,
) {
  const fetched: string[] = [];
  const download: Parameters<typeof modelCache>[0] = async ({ sha256: name }, sink) => {
    fetched.push(name);
    const blob = blobs.find((bytes) => sha256(bytes) === name);
    if (blob === undefined) throw new Error(`no ${name}`);
    sink(blob, 0);
  };
  const cache = modelCache(download, Infinity, () => store);
  return { cache, fetched };
}

test("a client that holds a model before fetches the differences to the next one alone", async () => {
  const { cache, fetched } = cacheOf();
  await cache.load(names[0]);
  for (const [i, of] of [
    [1, differences.slice(0, 1)],
    // Of three differences the first one is from a model that is no longer held.
    [3, differences.slice(0, 3)],
    // Fetched before.
    [3, []],
  ] as const)
    assert.deepEqual(
      Buffer.from((await cache.load(names[i], of)).bytes),
      Buffer.from(chain[i].bytes),
    );
  assert.deepEqual(
    fetched,
    [names[0], ...differences.slice(0, 3)].map((name) => name.sha256),
  );
});

test("one that holds none of them, or whose differences are wrong, fetches the model whole", async () => {
  const [difference] = differences;
  const wrong = chain[1].difference!.map((byte, i, all) =>
    i === all.length - 1 ? byte ^ 1 : byte,
  );
  for (const [what, from, of] of [
    ["holds none", 2, [difference]],
    ["has no differences", 0, []],
    ["of another length", 0, [{ ...difference, bytes: 2 ** 40 }]],
    ["as long as the model", 0, [difference, { ...difference, bytes: names[1].bytes }]],
    ["gone", 0, [{ ...difference, sha256: "0".repeat(64) }]],
    ["leads elsewhere", 0, [{ ...difference, ...nameOf(wrong) }]],
    ["of another model", 0, [{ ...difference, ...nameOf(chain[2].difference!) }]],
  ] as const) {
    const { cache, fetched } = cacheOf([
      ...chain.map(({ bytes }) => bytes),
      chain[2].difference!,
      wrong,
    ]);
    await cache.load(names[from]);
    const { bytes } = await cache.load(names[1], of);
    assert.equal(sha256(bytes), names[1].sha256, what);
    assert.equal(fetched.at(-1), names[1].sha256, what);
  }
});

test("a base that a full disk does not take is fetched once, and kept in memory", async () => {
  const partly = initialModel(
    {
      description: {
        input: [4],
        layers: [
          { type: "dense", units: 5, frozen: true },
          { type: "dense", units: 3 },
        ],
      },
      classes: ["a", "b", "c"],
    },
    "1",
  );
  const { shared } = networkOf(partly.description).shares;
  const base = writeBase(partly)!;
  const metadata = { ...modelMetadata(partly), [BASE]: JSON.stringify(nameOf(base)) };
  const rounds = [1, 2].map((round) =>
    writeBlob(
      shared.layout,
      { [MODEL]: new Float32Array(shared.layout.size).fill(round) },
      metadata,
    ),
  );
  const full = async () => {
    throw new Error("ENOSPC: no space left on device");
  };
  const { cache, fetched } = cacheOf([base, ...rounds], { ...memoryStore(), put: full });
  for (const [i, bytes] of rounds.entries()) {
    const { weights } = (await cache.load(nameOf(bytes))).model;
    assert.deepEqual(weights.subarray(0, 25), partly.weights.subarray(0, 25));
    assert.ok(weights.subarray(25).every((value) => value === i + 1));
  }
  assert.equal(fetched.filter((name) => name === sha256(base)).length, 1);
});
