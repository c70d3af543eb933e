import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openMeans } from "../../cli/averages.js";
import type { ModelDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import { byClient } from "../../cli/spread.js";
import type { Trainer, TrainJob } from "../../runtime/training/job.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-means-"));
after(() => rmSync(folder, { recursive: true }));

/** Adds `step` to each weight; the rest of it is not used. */
const trainer = (step: number) =>
  ({
    train: async ({ weights }: TrainJob) => ({
      delta: weights.map(() => step),
    }),
  }) as unknown as Trainer;

/** Two weights. */
const description: ModelDescription = {
  ...{ input: [1], layers: [{ type: "dense", units: 1 }] },
  loss: { type: "meanSquaredError" },
};

/** The accuracy of a model is its first weight. */
const means = (step: number) =>
  openMeans({
    folder,
    trainer: trainer(step),
    clients: ["a", "b", "c", "d"],
    shares: networkOf(description).shares,
    initial: Float32Array.of(0, 7),
    test: async ([first]) => ({ accuracy: first, loss: 2 }),
  });

const job = (first: number) => ({ weights: Float32Array.of(first, 0) }) as unknown as TrainJob;

test("sel is the mean of the round's participants, all that of everybody's newest weights, also after a resume", async () => {
  const first = means(1);
  await first.trainerOf("a").train(job(0));
  await first.trainerOf("b").train(job(2));
  const one = first.evaluate(1, ["a", "b"], false);
  // The next round overtakes the evaluation.
  await first.trainerOf("a").train(job(8));
  assert.deepEqual(await one, { round: 1, sel: { accuracy: 2, loss: 2 } });

  const resumed = means(2);
  await resumed.trainerOf("c").train(job(4));
  const two = await resumed.evaluate(2, ["a", "c"], true);
  assert.equal(two.sel.accuracy, (9 + 6) / 2);
  assert.equal(two.all?.accuracy, (9 + 3 + 6 + 0) / 4);
});

test("a client's accuracy is the test's in its own mix of classes", () => {
  const dataset = {
    labels: Int32Array.of(0, 0, 0, 0, 1, 1),
    classes: ["a", "b", "never tested"],
  };
  // Class 0: 3 of 4 right; class 1: 1 of 2.
  const predicted = [0, 0, 0, 1, 1, 0];
  const labels = Int32Array.of(0, 1, 2, 1, 1);
  const spread = byClient(dataset, predicted, labels, [
    Uint32Array.of(0),
    Uint32Array.of(0, 1, 2),
    Uint32Array.of(3, 4),
    Uint32Array.of(2),
  ]);
  assert.deepEqual(spread.clients, [0.75, 0.625, 0.5]);
  assert.equal(spread.mean, 0.625);
  assert.equal(spread.worstTenth, 0.5);
});
