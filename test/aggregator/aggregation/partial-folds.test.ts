import assert from "node:assert/strict";
import { test } from "node:test";
import { wasmArithmetic } from "../../../aggregator/aggregation/arithmetic.js";
import { firstCheckpoint, openReducer } from "../../../aggregator/aggregation/reducer.js";
import { stateGrid } from "../../../aggregator/aggregation/weighted-mean.js";
import { algorithmNamed } from "../../../runtime/algorithms/built-in.js";
import { codecNamed } from "../../../runtime/codecs/built-in.js";
import { sha256Hex } from "../../../runtime/platform/node-sha256.js";
import { layoutOf } from "../../../runtime/tensors/layout.js";
import { random } from "../../../runtime/tensors/random.js";
import { updateForm } from "../../../runtime/training/transmission.js";
import { runningValuesForm } from "../../../runtime/training/running-values.js";

// A round that several processes fold and one merges has the bits of a round in one process.

const MAX_ABS = 64;
const UPDATES = 11;
const layout = layoutOf([
  { name: "0.kernel", shape: [40, 7] },
  { name: "0.bias", shape: [7] },
]);
const averaged = layoutOf([
  { name: "1.mean", shape: [3] },
  { name: "1.variance", shape: [3] },
]);

interface Case {
  readonly algorithm: string;
  readonly codec?: string;
  readonly rule?: { readonly rule: string; readonly numbers: Readonly<Record<string, number>> };
  readonly clip?: number;
  readonly averages?: boolean;
  readonly staleness?: number;
}

const CASES: Readonly<Record<string, Case>> = {
  fedavg: { algorithm: "fedavg" },
  feddyn: { algorithm: "feddyn" },
  scaffold: { algorithm: "scaffold" },
  "fedavg with int8": { algorithm: "fedavg", codec: "int8" },
  "fedavg with clipped updates": { algorithm: "fedavg", clip: 1 },
  "fedavg with centred clipping": {
    algorithm: "fedavg",
    rule: { rule: "centred-clipping", numbers: { radius: 2 } },
  },
  "fedavg with running values": { algorithm: "fedavg", averages: true },
  "fedavg with stale updates": { algorithm: "fedavg", staleness: 3 },
};

function openedFor({ algorithm, codec = "float32", rule, clip, averages }: Case) {
  const whole = algorithmNamed(algorithm);
  const { client } = whole;
  const choice = { codec, codecSettings: { ...codecNamed(codec).defaults } };
  const own = { ...whole.defaults };
  const open = async () =>
    openReducer(
      {
        ...{ algorithm, algorithmSettings: own, ...choice, modelCodec: "float32", layout },
        averaged: averages ? averaged : undefined,
        ...{ maxAbs: MAX_ABS, maxNorm: Infinity, clipUpdateNorm: clip ?? Infinity },
        rule: { ...{ rule: "mean", hostile: 0, numbers: {}, bucket: 1, seed: "1" }, ...rule },
      },
      await wasmArithmetic(),
    );
  const form = updateForm(client, choice, layout);
  const first = firstCheckpoint(
    whole,
    own,
    layout,
    {},
    new Float32Array(layout.size),
    averages ? { layout: averaged, values: new Float32Array(averaged.size).fill(1) } : undefined,
  );
  const grid = client.nextState && stateGrid(UPDATES, MAX_ABS);
  const updates = Array.from({ length: UPDATES }, (_, k) => {
    const chance = random("update", algorithm, k);
    const vector = () => Float32Array.from({ length: layout.size }, () => chance.normal());
    const sent = Object.fromEntries(client.sends.map((name) => [name, vector()]));
    const own = form.encode(sent, { grid, chance: chance.next });
    const values = Float32Array.from({ length: averaged.size }, chance.next);
    const behind = averages ? runningValuesForm(averaged).encode(values) : new Uint8Array();
    return { key: `client-${k}`, samples: 1 + k, bytes: Uint8Array.from([...own, ...behind]) };
  });
  return { open, first, updates };
}

type Opened = Awaited<ReturnType<ReturnType<typeof openedFor>["open"]>>;

for (const [name, one] of Object.entries(CASES))
  test(`${name}: folded by three and merged, in any order, is the round of one`, async () => {
    const { open, first, updates } = openedFor(one);
    const { staleness = 0 } = one;
    const limits = { round: 1, attempt: 1, updates: UPDATES, samples: 64, staleness };
    async function begun(): Promise<Opened> {
      const reducer = await open();
      await reducer.load(first.state.bytes);
      await reducer.openFold(limits);
      return reducer;
    }
    async function add(reducer: Opened, { key, samples, bytes }: (typeof updates)[number]) {
      const about = { work: "", samples, fromHalf: false };
      assert.equal(await reducer.check(key, sha256Hex(bytes), bytes, about), undefined);
      await reducer.fold(key, key, samples, samples % (staleness + 1));
    }
    const finish = (reducer: Opened) => reducer.finish(Uint8Array.from(first.model.bytes), 20);

    const alone = await begun();
    for (const update of updates) await add(alone, update);
    const expected = await finish(alone);

    const leaves = await Promise.all([begun(), begun(), begun()]);
    for (const [k, update] of updates.entries()) await add(leaves[(k * 7) % 3], update);
    const partials = await Promise.all(leaves.map((leaf) => leaf.takeFold()));
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
    ]) {
      const coordinator = await begun();
      for (const i of order) await coordinator.merge(partials[i]);
      assert.deepEqual(await finish(coordinator), expected);
    }
    // The coordinator may fold too.
    const both = await begun();
    for (const [k, update] of updates.entries()) if ((k * 7) % 3 === 0) await add(both, update);
    for (const i of [1, 2]) await both.merge(partials[i]);
    assert.deepEqual(await finish(both), expected);
  });

test("what does not merge is refused, with nothing changed", async () => {
  const { open, first, updates } = openedFor({ algorithm: "fedavg", averages: true });
  const [{ key, bytes }] = updates;
  const limits = { round: 1, attempt: 1, updates: UPDATES, samples: 64, staleness: 0 };
  async function withOne(change: Partial<typeof limits> = {}) {
    const reducer = await open();
    await reducer.load(first.state.bytes);
    await reducer.openFold({ ...limits, ...change });
    const about = { work: "", samples: 1, fromHalf: false };
    await reducer.check(key, sha256Hex(bytes), bytes, about);
    await reducer.fold(key, key, 1, 0);
    return reducer;
  }
  const partial = await (await withOne()).takeFold();
  const reducer = await withOne();
  const refused = { name: "ModelError" };
  await assert.rejects(reducer.merge(partial), /"client-0" is in both folds/);
  const other = await (await withOne({ samples: 128 })).takeFold();
  await assert.rejects(reducer.merge(other), /"domain" expected/);
  for (const cut of [0, 4, 8, 100, partial.length - 8])
    await assert.rejects(reducer.merge(partial.subarray(0, cut)), refused);
  const longer = new Uint8Array(partial.length + 8);
  longer.set(partial);
  const empty = await open();
  await empty.load(first.state.bytes);
  await empty.openFold(limits);
  await assert.rejects(empty.merge(longer), /"partial" expected/);
  await empty.merge(partial);
  const model = () => Uint8Array.from(first.model.bytes);
  assert.deepEqual(await empty.finish(model(), 2), await reducer.finish(model(), 2));
});

test("a round whose updates are kept until all are there is in one process", async () => {
  const { open } = openedFor({ algorithm: "fedavg", rule: { rule: "median", numbers: {} } });
  const reducer = await open();
  await reducer.openFold({ round: 1, attempt: 1, updates: 3, samples: 8, staleness: 0 });
  await assert.rejects(reducer.takeFold(), /combined in one place only/);
});
