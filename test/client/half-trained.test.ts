import assert from "node:assert/strict";
import { before, test } from "node:test";
import {
  dataIdentity,
  halfTrainedIn,
  type WorkIdentity,
} from "../../runtime/client/half-trained.js";
import type { Part } from "../../runtime/data/dataset.js";
import { layoutOf } from "../../runtime/tensors/layout.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import type { StateStore } from "../../runtime/platform/platform.js";
import type { Snapshot } from "../../runtime/training/job.js";
import { cutAt } from "./power-cut.js";

const layout = layoutOf([{ name: "0.kernel", shape: [2, 3] }]);
const snapshotAt = (batch: number): Snapshot => ({
  weights: Float32Array.from({ length: layout.size }, (_, i) => i + 0.1 * batch),
  batch,
  chance: [batch, -2, 3, -(2 ** 31)],
  activationNorms: [0.1, 1 / 3],
  lossBefore: 2.3,
  seconds: 11.25,
});
const work: WorkIdentity = {
  assignment: "ab".repeat(16),
  model: "cd".repeat(32),
  settings: '{"localEpochs":2}',
  state: "",
  build: "simd",
  data: "ef".repeat(32),
};
const find = (store: StateStore, of = work, form = layout) =>
  halfTrainedIn(store).find(async () => of, form);

let kept: Uint8Array;
before(async () => {
  const store = memoryStore();
  await halfTrainedIn(store).keep(work, layout, snapshotAt(7));
  kept = (await store.get("half-trained"))!;
});
async function storeWith(bytes: Uint8Array): Promise<StateStore> {
  const store = memoryStore();
  await store.put("half-trained", bytes);
  return store;
}

test("what was kept is found again, to the bit, as often as it is asked for", async () => {
  const store = await storeWith(kept);
  for (let i = 0; i < 2; i++) assert.deepEqual(await find(store), { snapshot: snapshotAt(7) });
  assert.deepEqual(await find(memoryStore()), {});
});

test("a power cut at any write leaves the last snapshot that was kept, or none", async () => {
  for (let at = 0; ; at++) {
    const store = memoryStore();
    const shelf = halfTrainedIn(cutAt(store, at));
    let last = 0;
    let dropped = false;
    try {
      for (const batch of [3, 6, 9]) {
        await shelf.keep(work, layout, snapshotAt(batch));
        last = batch;
      }
      dropped = await shelf.drop(work.assignment);
    } catch {
      // No power.
    }
    const { snapshot } = await find(store);
    assert.equal(snapshot?.batch, dropped ? undefined : last || undefined);
    assert.ok((await store.list()).length <= 1);
    if (dropped) return assert.equal(at, 4);
  }
});

test("a snapshot damaged or cut short at any byte is dropped, never gone on with", async () => {
  for (let at = 0; at < kept.length; at++) {
    const flipped = kept.slice();
    flipped[at] ^= 1 << (at % 8);
    for (const damaged of [flipped, kept.slice(0, at)]) {
      const store = await storeWith(damaged);
      const { snapshot, dropped } = await find(store);
      assert.equal(snapshot, undefined, `byte ${at}`);
      assert.equal(dropped?.code, "damaged", `byte ${at}`);
      assert.deepEqual(await store.list(), []);
    }
  }
});

test("a snapshot of any other work is dropped, and says why", async () => {
  for (const key of Object.keys(work) as (keyof WorkIdentity)[]) {
    const store = await storeWith(kept);
    const { snapshot, dropped } = await find(store, { ...work, [key]: "x" });
    assert.equal(snapshot, undefined);
    assert.equal(dropped?.code, key);
    assert.deepEqual(await store.list(), []);
  }
  const wider = layoutOf([{ name: "0.kernel", shape: [2, 4] }]);
  const { dropped } = await find(await storeWith(kept), work, wider);
  assert.equal(dropped?.code, "damaged");
});

test("only the end of its own assignment, or of all, removes it; also where it is still being written", async () => {
  const store = memoryStore();
  const shelf = halfTrainedIn(store);
  await shelf.keep(work, layout, snapshotAt(1));
  assert.equal(await shelf.drop("another"), false);
  assert.equal((await store.list()).length, 1);
  const writing = shelf.keep(work, layout, snapshotAt(2));
  assert.equal(await shelf.drop(work.assignment), true);
  await writing;
  await shelf.idle();
  assert.deepEqual(await store.list(), []);
  const later = halfTrainedIn(await storeWith(kept));
  assert.equal(await later.drop(), true);
});

test("data are told apart by number, order, labels and inputs", async () => {
  const partOf = (changes: Partial<Part["dataset"]> = {}): Part => ({
    dataset: {
      shape: [1000],
      inputs: Float32Array.from({ length: 3e6 }, (_, i) => i % 251),
      labels: Int32Array.from({ length: 3000 }, (_, i) => i % 10),
      classes: [],
      ...changes,
    },
    rows: Uint32Array.from({ length: 3000 }, (_, i) => i),
  });
  const part = partOf();
  const of = await dataIdentity(part);
  assert.equal(await dataIdentity(partOf()), of);
  const labels = part.dataset.labels.slice();
  labels[1234] ^= 1;
  const later = part.dataset.inputs.map((_, i) => (i + 1) % 251);
  const { rows } = part;
  for (const changed of [
    partOf({ labels }),
    partOf({ inputs: later }),
    partOf({ shape: [10, 100] }),
    { ...part, rows: rows.subarray(1) },
    { ...part, rows: rows.slice().reverse() },
  ])
    assert.notEqual(await dataIdentity(changed), of);
});
