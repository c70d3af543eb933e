import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { OpenedData } from "../../cli/data.js";
import { modelNamed, presetFor } from "../../cli/model.js";
import type { Dataset } from "../../runtime/data/dataset.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-model-"));
after(() => rmSync(folder, { recursive: true }));

const file = (content: unknown) => {
  const path = join(folder, "model.json");
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};

const data = (shape: number[], classes: string[]): OpenedData => ({
  format: "csv",
  train: {
    shape,
    classes,
    inputs: new Float32Array(shape.reduce((a, b) => a * b, 1)),
    labels: new Int32Array(1),
  },
});

const description = {
  input: [4],
  layers: [
    { type: "dense", units: 5, activation: "relu" },
    { type: "dense", units: 2 },
  ],
};

test("a preset takes the classes of the data and its own data set's normalisation", async () => {
  const names = ["left", "right", "up"];
  const card = await modelNamed("fashion-small", data([28, 28, 1], names));
  assert.deepEqual(card.classes, names);
  assert.deepEqual(card.normalisation?.mean, [0.286]);
  assert.equal((await modelNamed("cifar")).classes.length, 100);
});

test("a file holds a description, or a whole card", async () => {
  assert.deepEqual(await modelNamed(file(description)), {
    description,
    classes: ["0", "1"],
  });
  const card = {
    description,
    normalisation: { scale: 2, mean: [1], deviation: [3] },
    classes: ["no", "yes"],
  };
  assert.deepEqual(await modelNamed(file(card), data([4], ["0", "1"])), card);
  assert.deepEqual(await modelNamed(file(card), data([4], ["yes", "no"])), card);
});

test("column names come with the data, and go into the model's file", async () => {
  const opened = data([4], ["0", "1"]);
  const columns = ["a", "b", "c", "d"];
  const named = { ...opened, train: { ...opened.train!, columns } };
  assert.deepEqual((await modelNamed(file(description), named)).columns, columns);
  const card = { description, classes: ["no", "yes"], columns: ["d", "c", "b", "a"] };
  assert.deepEqual((await modelNamed(file(card), named)).columns, card.columns);
  await assert.rejects(modelNamed(file({ ...card, columns: ["a"] })), {
    code: "model-file",
    message: '"model.columns" expected 4 names, one per number of an example, got 1',
  });
});

test("without a name the data's shape decides; a table gets a perceptron of its width", async () => {
  const table = data([3], ["no", "yes"]);
  assert.equal(presetFor(table), "perceptron");
  const card = await modelNamed("perceptron", table);
  assert.deepEqual(card.description, {
    input: [3],
    layers: [
      { type: "dense", units: 64, activation: "relu" },
      { type: "dense", units: 2 },
    ],
  });
  assert.equal(card.normalisation, undefined, "the clients' statistics decide it");
  const ofPixels = await modelNamed("perceptron", data([28, 28, 1], ["a", "b"]));
  assert.equal(ofPixels.normalisation?.mean.length, 1, "clients give no statistics of images");
  assert.equal(presetFor(data([128, 9], ["a"])), "sensor");
  assert.equal(presetFor(data([32, 32, 3], ["a"])), "cifar");
  assert.equal(presetFor(), "fashion-small");
  assert.equal(presetFor(data([16, 3], ["a"])), "perceptron");
  assert.throws(() => presetFor(data([5, 5, 5], ["a"])), {
    message: /"--model" expected perceptron, or a file with a description, .* 5x5x5/,
  });
  await assert.rejects(modelNamed("perceptron"), { message: /"--model" expected data/ });
});

test("without a name the task decides before the shape, and the preset takes the data's shape", async () => {
  const rows = data([1], ["0"]).train!;
  const whole = { ...rows, labels: Int32Array.of(-1), classes: [] };
  const windows = { ...whole, shape: [4, 3], inputs: new Float32Array(12) };
  const targets = { kind: "numbers", size: 2, values: Float32Array.of(1, 2) } as const;
  const text = { ...whole, shape: [64], inputs: new Uint8Array(64), vocabulary: ["a", "b"] };
  const of = (train: Dataset): OpenedData => ({ format: "csv", train });
  const cases = [
    [whole, "autoencoder"],
    [windows, "autoencoder"],
    [{ ...windows, targets }, "forecast"],
    [{ ...whole, targets }, "perceptron"],
    [text, "characters"],
  ] as const;
  for (const [dataset, name] of cases) {
    assert.equal(presetFor(of(dataset)), name);
    const { description } = await modelNamed(name, of(dataset));
    assert.deepEqual(description.input, dataset.shape);
  }
  const short = { ...text, shape: [32], inputs: new Uint8Array(32) };
  await assert.rejects(modelNamed("characters", of(short)), {
    message: /\(--window 64\), got 32$/,
  });
  await assert.rejects(modelNamed("forecast", of({ ...whole, targets })), {
    code: "shape",
    message:
      /"data" expected series cut into windows \(--window.* for the model forecast, got .* 1$/,
  });
});

test("what does not fit is refused by name", async () => {
  const refused = (name: string, message: RegExp, opened?: OpenedData) =>
    assert.rejects(modelNamed(name, opened), { message });
  await refused("fashion-smal", /"--model" expected one of .*fashion-small.*got "fashion-smal"/);
  await refused(file("{"), /expected JSON/);
  await refused(file({ input: [4], layers: [] }), /at least one layer/);
  await refused(
    "fashion-small",
    /expected examples of 28x28x1 for the model fashion-small, got 32x32x3/,
    data([32, 32, 3], ["a"]),
  );
  await refused(
    file({ description, classes: ["no", "yes"] }),
    /expected 2 classes .* got 3/,
    data([4], ["a", "b", "c"]),
  );
  await refused(
    file({ description, classes: ["no", "yes"] }),
    /expected one of the model's classes, "no", "yes", got "a"/,
    data([4], ["a", "b"]),
  );
  await refused(
    file({ description, classes: ["no", "no"] }),
    /^"model.classes" expected each name once, got "no" twice$/,
  );
  for (const classes of [["a", "b", "c"], ["a"]])
    await refused(
      file(description),
      new RegExp(`"data" expected 2 classes for the model .*, got ${classes.length}`),
      data([4], classes),
    );
});
