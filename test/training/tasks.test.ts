import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Dataset, Targets } from "../../runtime/data/dataset.js";
import { startOf } from "../../runtime/data/dataset.js";
import { DataError } from "../../runtime/errors.js";
import { predictionsOf } from "../../runtime/client/prediction.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import { random } from "../../runtime/tensors/random.js";
import { elements } from "../../runtime/tensors/shape.js";
import type { TrainJob } from "../../runtime/training/job.js";
import { trainerOf } from "../../runtime/training/trainer.js";

// What holds for a model of every task: its data are loaded, it learns, is evaluated and predicts.

const trainer = trainerOf(nodePlatform().startWorker);
after(() => trainer.close());

const MODELS = {
  classes: { input: [6], layers: [{ type: "dense", units: 3 }] },
  sequence: {
    input: [5],
    loss: { type: "softmaxCrossEntropy" },
    layers: [
      { type: "embedding", vocabulary: 4, units: 6 },
      { type: "dense", units: 4 },
    ],
  },
  labels: {
    input: [6],
    loss: { type: "sigmoidCrossEntropy" },
    layers: [{ type: "dense", units: 3 }],
  },
  numbers: {
    input: [6],
    loss: { type: "meanSquaredError" },
    layers: [{ type: "dense", units: 2 }],
  },
  input: {
    input: [6],
    loss: { type: "meanSquaredError", target: "input" },
    layers: [
      { type: "dense", units: 4, activation: "tanh" },
      { type: "dense", units: 6 },
    ],
  },
} as const;

type TaskName = keyof typeof MODELS;

const COUNT = 40;
/** Examples of a task that can be learned. */
function datasetFor(task: TaskName): Dataset {
  const network = networkOf(parseDescription(MODELS[task]));
  const chance = random("tasks", task);
  const size = elements(network.input);
  const inputs = Float32Array.from({ length: COUNT * size }, () =>
    task === "sequence" ? chance.integer(4) : 2 * chance.next() - 1,
  );
  const none = new Int32Array(COUNT).fill(-1);
  const base = { shape: network.input, inputs, classes: ["a", "b", "c"] };
  const targets = (
    kind: Targets["kind"],
    width: number,
    of: (row: number, i: number) => number,
  ) => ({
    ...{ ...base, labels: none, classes: [] },
    targets: {
      kind,
      size: width,
      values: Float32Array.from({ length: COUNT * width }, (_, i) =>
        of(Math.floor(i / width), i % width),
      ),
    },
  });
  const x = (row: number, i: number) => inputs[row * size + i];
  switch (task) {
    case "classes":
      return { ...base, labels: none.map((_, row) => (x(row, 0) > 0 ? 1 : x(row, 1) > 0 ? 2 : 0)) };
    case "sequence":
      return targets("classes", 5, (row, i) => (i === 0 ? -1 : (x(row, i) + 1) % 4));
    case "labels":
      return targets("numbers", 3, (row, i) => Number(x(row, i) > 0));
    case "numbers":
      return targets("numbers", 2, (row, i) => 50 + 20 * i + 10 * x(row, i) - 5 * x(row, 5));
    case "input":
      return { ...base, labels: none, classes: [] };
  }
}

function jobFor(task: TaskName, dataset = datasetFor(task), localEpochs = 4): TrainJob {
  const description = parseDescription(MODELS[task]);
  return {
    description,
    weights: initialWeights(networkOf(description), "tasks"),
    ...(task === "numbers" && { targets: { mean: [50, 70], deviation: [7, 8] } }),
    objective: {},
    part: { dataset, rows: Uint32Array.from(dataset.labels.keys()) },
    settings: {
      ...{ algorithm: "fedavg", algorithmSettings: {}, localEpochs, batchSize: 7 },
      ...{ learningRate: 0.3, initialLearningRate: 0.3, weightDecay: 0, clipNorm: 0, zeta: 0 },
      ...{ manIncludesLogits: false, shuffle: true, meanSamples: COUNT, seed: "tasks" },
    },
  };
}

for (const task of Object.keys(MODELS) as TaskName[]) {
  test(`${task}: training lowers the loss, and the evaluation says so too`, async () => {
    const job = jobFor(task);
    const { delta, metrics } = await trainer.train(job);
    assert.ok(metrics.lossAfter < 0.9 * metrics.lossBefore, JSON.stringify(metrics));
    const weights = job.weights.map((weight, i) => weight + delta[i]);
    const { count, correct, loss, sums } = await trainer.evaluate({ ...job, weights });
    assert.equal(count, COUNT);
    assert.ok(Math.abs(loss / count - metrics.lossAfter) < 1e-5);
    assert.ok(sums!.length > 0);
    assert.equal(correct > 0, task === "classes");
  });

  test(`${task}: windows that overlap train as their copies do, to the bit`, async () => {
    const whole = datasetFor(task);
    const size = elements(whole.shape);
    // Every example but the last begins in the middle of the one before.
    const starts = Uint32Array.from({ length: COUNT }, (_, i) => Math.floor((i * size) / 2));
    const views = { ...whole, starts };
    const copies = {
      ...whole,
      inputs: Float32Array.from(
        { length: COUNT * size },
        (_, i) => whole.inputs[startOf(starts, Math.floor(i / size), size) + (i % size)],
      ),
    };
    const [a, b] = await Promise.all(
      [views, copies].map((dataset) => trainer.train(jobFor(task, dataset, 1))),
    );
    assert.deepEqual(a.delta, b.delta);
  });

  test(`${task}: a prediction of the task for each example`, async () => {
    const { part, ...model } = jobFor(task);
    const outputs = await trainer.predict({ ...model, inputs: part.dataset.inputs });
    const predictions = predictionsOf({ ...model, classes: [] }, outputs);
    assert.equal(predictions.length, COUNT);
    for (const prediction of predictions) assert.equal(prediction.task, task);
  });

  test(`${task}: data of another task are refused before anything is trained`, async () => {
    for (const other of Object.keys(MODELS) as TaskName[]) {
      // A loss that compares with the input asks for nothing else.
      if (other === task || task === "input" || (task === "sequence") !== (other === "sequence"))
        continue;
      if (task === "labels" || other === "labels") continue;
      await assert.rejects(
        trainer.train(jobFor(task, datasetFor(other))),
        (error: unknown) => error instanceof DataError,
        `${task} ${other}`,
      );
    }
  });
}

test("numbers are predicted in the target's units, errors in normalised ones", async () => {
  const { part, ...model } = jobFor("numbers");
  const { inputs } = part.dataset;
  const [first] = predictionsOf(
    { ...model, classes: [] },
    await trainer.predict({ ...model, inputs: inputs.subarray(0, 6) }),
  );
  assert.ok(first.task === "numbers");
  const { weights } = model;
  [0, 1].forEach((j) => {
    let y = weights[12 + j];
    for (let i = 0; i < 6; i++) y += inputs[i] * weights[2 * i + j];
    const expected = [50, 70][j] + [7, 8][j] * y;
    assert.ok(Math.abs(first.values[j] - expected) < 1e-4, `${first.values[j]} ${expected}`);
  });
  const { loss } = await trainer.evaluate({ ...model, part: { ...part, rows: Uint32Array.of(0) } });
  const target = part.dataset.targets!.values;
  const errors = [0, 1].map((j) => (first.values[j] - target[j]) / [7, 8][j]);
  assert.ok(Math.abs(loss - (errors[0] ** 2 + errors[1] ** 2) / 2) < 1e-4);
});

test("an error is the mean over the example's numbers, and a threshold gives a verdict", async () => {
  const { part, ...model } = jobFor("input");
  const { inputs } = part.dataset;
  const errors = await trainer.predict({ ...model, inputs });
  const { loss } = await trainer.evaluate({ ...model, part });
  const mean = errors.reduce((a, b) => a + b, 0) / COUNT;
  assert.ok(Math.abs(loss / COUNT - mean) < 1e-6);
  const value = [...errors].sort((a, b) => a - b)[COUNT - 3];
  const threshold = { quantile: 0.95, value };
  const verdicts = predictionsOf({ ...model, classes: [], threshold }, errors);
  assert.equal(
    verdicts.filter((verdict) => verdict.task === "input" && verdict.anomaly === true).length,
    2,
  );
});

test("a label of several is from 0 to 1", async () => {
  const dataset = datasetFor("labels");
  const values = dataset.targets!.values.slice();
  values[4] = 2;
  const wrong = { ...dataset, targets: { ...dataset.targets!, values } };
  await assert.rejects(
    trainer.train(jobFor("labels", wrong)),
    (error: unknown) => error instanceof DataError && error.code === "label",
  );
});
