import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import type { LocalObjective } from "../../runtime/algorithms/algorithm.js";
import type { Part } from "../../runtime/data/dataset.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import type { Snapshot, Trained, Trainer, TrainJob } from "../../runtime/training/job.js";
import { snapshotTimes } from "../../runtime/training/snapshots.js";
import { trainerHere } from "./engines.js";
import { quickTrainer } from "./quick-trainer.js";
import { slowly } from "../until.js";

const description = parseDescription({
  input: [6, 6, 2],
  layers: [
    { type: "conv2d", filters: 3, kernelSize: 3 },
    { type: "relu" },
    { type: "flatten" },
    { type: "dropout", rate: 0.3 },
    { type: "dense", units: 3 },
  ],
});
const network = networkOf(description);
const weights = initialWeights(network, "seed");
const other = initialWeights(network, "another seed");
const chance = random("snapshots");
const dataset = {
  shape: network.input,
  inputs: Uint8Array.from({ length: 20 * 72 }, () => chance.integer(256)),
  labels: Int32Array.from({ length: 20 }, () => chance.integer(3)),
  classes: ["a", "b", "c"],
};
const partOf = (samples: number): Part => ({
  dataset,
  rows: Uint32Array.from({ length: samples }, (_, i) => 19 - i),
});

const jobOf = (
  samples: number,
  objective: LocalObjective,
  changes: Partial<TrainJob["settings"]>,
): TrainJob => ({
  description,
  weights,
  normalisation: { scale: 255, mean: [0.5], deviation: [0.3] },
  objective,
  part: partOf(samples),
  settings: {
    algorithm: "fedavg",
    algorithmSettings: {},
    localEpochs: 3,
    batchSize: 7,
    learningRate: 0.1,
    initialLearningRate: 0.1,
    weightDecay: 1e-3,
    clipNorm: 1,
    zeta: 0.15,
    manIncludesLogits: false,
    shuffle: true,
    meanSamples: 20,
    seed: "a",
    ...changes,
  },
});

/** All but the time it took. */
const outcome = ({ delta, metrics: { seconds: _, ...metrics } }: Trained) => ({
  bits: Buffer.from(delta.buffer, delta.byteOffset, delta.byteLength),
  metrics,
});

let here: Trainer;
before(async () => {
  here = await trainerHere("simd", { snapshots: true });
});

const OBJECTIVES: Record<string, LocalObjective> = {
  plain: {},
  proximal: { proximal: { coefficient: 0.1, center: weights } },
  linear: { linear: other, weightDecay: 0.01 },
  sam: { ascent: { kind: "sam", radius: 0.05, clipped: true } },
  asam: {
    proximal: { coefficient: 0.1, center: other },
    linear: weights,
    ascent: { kind: "asam", radius: 0.5, eta: 0.1, clipped: false },
  },
};

test("a round cut at any batch goes on to the same bits, whatever its objective and chance", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        objective: fc.constantFrom(...Object.keys(OBJECTIVES)),
        samples: fc.integer({ min: 1, max: 20 }),
        localEpochs: fc.integer({ min: 1, max: 4 }),
        batchSize: fc.integer({ min: 1, max: 9 }),
        shuffle: fc.boolean(),
        augmentation: fc.constantFrom(undefined, { flip: true, crop: 2 }),
        manIncludesLogits: fc.boolean(),
        cut: fc.nat(),
      }),
      async ({ objective, samples, cut, ...changes }) => {
        const job = jobOf(samples, OBJECTIVES[objective], changes);
        const snapshots: Snapshot[] = [];
        const whole = await here.train(job, {
          onSnapshot: async (snapshot) => void snapshots.push(snapshot),
        });
        const { localEpochs, batchSize } = changes;
        const batches = localEpochs * Math.ceil(samples / batchSize);
        assert.deepEqual(
          snapshots.map(({ batch }) => batch),
          Array.from({ length: batches }, (_, i) => i + 1),
        );
        const from = snapshots[cut % batches];
        // Another job in between leaves nothing behind.
        await here.train(jobOf(3, {}, { localEpochs: 1, seed: "b" }));
        const seen: number[] = [];
        const rest = await here.train(
          { ...job, from },
          { onProgress: ({ batch }) => seen.push(batch) },
        );
        assert.deepEqual(outcome(rest), outcome(whole));
        assert.ok(rest.metrics.seconds >= from.seconds);
        assert.deepEqual(
          seen,
          snapshots.slice(from.batch).map(({ batch }) => batch),
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("a snapshot of another network or another length of round is refused", async () => {
  const job = jobOf(20, {}, {});
  const snapshots: Snapshot[] = [];
  await here.train(job, {
    onSnapshot: async (snapshot) => void snapshots.push(snapshot),
  });
  const from = snapshots[4];
  for (const wrong of [
    { weights: from.weights.subarray(1) },
    { batch: 0 },
    { batch: 10 },
    { activationNorms: [] },
  ])
    await assert.rejects(
      here.train({ ...job, from: { ...from, ...wrong } }),
      { name: "ModelError" },
      JSON.stringify(wrong),
    );
});

test("a snapshot is due at an epoch's end or after half a minute, and costs a hundredth of the time at most", () => {
  let now = 0;
  const times = snapshotTimes(() => now);
  /** From when on one is due, in seconds. */
  const dueAt = (epochDone: boolean) => {
    const began = now;
    while (!times.due(epochDone) && now - began < 1e6) now += 1000;
    const waited = (now - began) / 1000;
    const due = times.due(epochDone);
    now = began;
    return due ? waited : Infinity;
  };
  assert.deepEqual([dueAt(true), dueAt(false)], [10, 30]);
  now += 30_000;
  times.taken();
  assert.equal(dueAt(false), Infinity);
  times.kept(50);
  assert.deepEqual([dueAt(true), dueAt(false)], [10, 30]);
  times.taken();
  times.kept(600);
  assert.deepEqual([dueAt(true), dueAt(false)], [60, 60]);
});

test("a worker hands snapshots out, never a second one before the first is kept, and goes on from one", async () => {
  const trainer = quickTrainer();
  after(() => trainer.close());
  const job = jobOf(20, OBJECTIVES["asam"], { localEpochs: 600 });
  const snapshots: Snapshot[] = [];
  let keeping = 0;
  const whole = await trainer.train(job, {
    async onSnapshot(snapshot) {
      assert.equal(keeping++, 0);
      await slowly(5);
      snapshots.push(snapshot);
      keeping--;
    },
  });
  assert.ok(snapshots.length > 1, `${snapshots.length} snapshots`);
  const from = snapshots[Math.floor(snapshots.length / 2)];
  const again = snapshots[0].weights.slice();
  assert.deepEqual(outcome(await trainer.train({ ...job, from })), outcome(whole));
  // What was handed out belongs to the listener, and what is given stays the caller's.
  assert.deepEqual(snapshots[0].weights, again);
  assert.deepEqual(from.weights.length, network.layout.size);
});
