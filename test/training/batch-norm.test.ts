import assert from "node:assert/strict";
import { test } from "node:test";
import type { LocalObjective } from "../../runtime/algorithms/algorithm.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import type { Snapshot, TrainJob } from "../../runtime/training/job.js";
import { BUILDS, trainerHere } from "./engines.js";

// The layer reads the inputs, so what its running values are is known without training.
const network = networkOf(
  parseDescription({
    input: [4, 3],
    layers: [
      { type: "batchNorm", momentum: 0.8, activation: "tanh" },
      { type: "flatten" },
      { type: "dense", units: 2 },
    ],
  }),
);
const COUNT = 12;
const BATCH = 5;
const chance = random("inputs");
const inputs = Float32Array.from(
  { length: COUNT * 12 },
  (_, i) => (1 + (i % 3)) * chance.normal() + (i % 3),
);

const jobOf = (
  batchNorm: TrainJob["settings"]["batchNorm"],
  objective: LocalObjective = {},
): TrainJob => ({
  description: network.description,
  weights: initialWeights(network, "w"),
  objective,
  part: {
    dataset: {
      shape: network.input,
      inputs,
      labels: Int32Array.from({ length: COUNT }, (_, i) => i % 2),
      classes: ["a", "b"],
    },
    rows: Uint32Array.from({ length: COUNT }, (_, i) => i),
  },
  settings: {
    ...{ algorithm: "fedavg", algorithmSettings: {}, localEpochs: 2, batchSize: BATCH },
    ...{ learningRate: 0.1, initialLearningRate: 0.1, weightDecay: 1e-3, clipNorm: 10 },
    ...{ zeta: 0.15, manIncludesLogits: false, shuffle: false, meanSamples: COUNT, seed: "a" },
    batchNorm,
  },
});

/** Running means and variances of the three channels, after two passes over the examples. */
function expected(): number[] {
  const means = [0, 0, 0];
  const variances = [1, 1, 1];
  for (let epoch = 0; epoch < 2; epoch++)
    for (let from = 0; from < COUNT; from += BATCH)
      for (let c = 0; c < 3; c++) {
        const seen = [...inputs.subarray(12 * from, 12 * Math.min(COUNT, from + BATCH))].filter(
          (_, i) => i % 3 === c,
        );
        const mean = seen.reduce((a, b) => a + b) / seen.length;
        const squares = seen.reduce((sum, x) => sum + (x - mean) ** 2, 0);
        means[c] = 0.8 * means[c] + 0.2 * mean;
        variances[c] = 0.8 * variances[c] + (0.2 * squares) / (seen.length - 1);
      }
  return [...means, ...variances];
}

const sam: LocalObjective = { ascent: { kind: "sam", radius: 0.1, clipped: false } };

for (const build of BUILDS) {
  test(`running values follow the batches, in the first pass of SAM alone, ${build} build`, async () => {
    const trainer = await trainerHere(build);
    for (const policy of ["average", "local"] as const)
      for (const objective of [{}, sam]) {
        const { statistics } = await trainer.train(jobOf(policy, objective));
        assert.equal(statistics?.length, 6);
        expected().forEach((value, i) =>
          assert.ok(Math.abs(statistics[i] - value) <= 1e-5 * Math.max(1, Math.abs(value))),
        );
      }
    trainer.close();
  });

  test(`frozen running values stay, and are what a batch is normalised by, ${build} build`, async () => {
    const trainer = await trainerHere(build);
    const frozen = await trainer.train(jobOf("frozen"));
    const without = await trainer.train(jobOf(undefined));
    const moved = await trainer.train(jobOf("local"));
    assert.equal(frozen.statistics, undefined);
    assert.deepEqual(without.delta, frozen.delta);
    assert.notDeepEqual(moved.delta, frozen.delta);
    assert.equal(moved.delta.length, network.shares.shared.layout.size);
    trainer.close();
  });

  test(`a round that was cut ends with the same bits of running values, ${build} build`, async () => {
    const trainer = await trainerHere(build, { snapshots: true });
    const snapshots: Snapshot[] = [];
    const onSnapshot = async (snapshot: Snapshot) => void snapshots.push(snapshot);
    const whole = await trainer.train(jobOf("local", sam), { onSnapshot });
    assert.equal(snapshots.length, 6);
    for (const from of snapshots) {
      const rest = await trainer.train({ ...jobOf("local", sam), from });
      assert.deepEqual(rest.statistics, whole.statistics);
      assert.deepEqual(rest.delta, whole.delta);
    }
    trainer.close();
  });
}
