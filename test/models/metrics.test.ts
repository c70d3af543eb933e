import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  headlineOf,
  metricReader,
  METRICS,
  METRIC_NAMES,
} from "../../runtime/models/metrics/built-in.js";
import { figureText } from "../../runtime/models/figure-text.js";
import type { Metric } from "../../runtime/models/metrics/metric.js";
import { sumsOf } from "../../runtime/models/metrics/sums.js";
import type { ModelDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";

const dense = (units: number, loss: ModelDescription["loss"], input = [3]): ModelDescription => ({
  input,
  loss,
  layers: [{ type: "dense", units }],
});
const TASKS = {
  classes: dense(7, { type: "softmaxCrossEntropy" }),
  sequence: dense(7, { type: "softmaxCrossEntropy" }, [4, 3]),
  labels: dense(5, { type: "sigmoidCrossEntropy" }),
  numbers: dense(2, { type: "meanSquaredError" }),
  input: dense(3, { type: "meanSquaredError", target: "input" }),
} as const;

type Task = keyof typeof TASKS;

/** Outputs and targets of some examples of a task, drawn by a seed. */
function examples(task: Task, count: number, seed: string) {
  const network = networkOf(TASKS[task]);
  const chance = random(seed, task);
  const normal = () => 3 * (chance.next() + chance.next() - 1);
  const { size } = network.loss.target;
  const width = network.classes;
  const isClass = task === "classes" || task === "sequence";
  const outputs = Float32Array.from({ length: count * size * (isClass ? width : 1) }, normal);
  const labels = Int32Array.from({ length: count * size }, () => chance.integer(width + 1) - 1);
  if (task === "classes") labels.forEach((label, i) => (labels[i] = Math.max(0, label)));
  const targets = Float32Array.from({ length: count * size }, (_, i) =>
    task === "labels" ? Number(outputs[i] + normal() > 0) : outputs[i] + normal() / 2,
  );
  return { network, outputs, labels, targets };
}

/** What the reader makes of a batch. */
function read(task: Task, count: number, seed: string, deviation = [1]) {
  const { network, outputs, labels, targets } = examples(task, count, seed);
  const sums = sumsOf(network);
  sums.add(outputs, labels, targets);
  const reader = metricReader({
    description: TASKS[task],
    classes: [],
    targets: { mean: [0], deviation },
  });
  const values = [...sums.values];
  const measured = { count, correct: values[1], loss: 0.5, sums: { values, count } };
  return { reader, values, reading: reader.read(measured), outputs, labels, targets };
}

const close = (a: number | undefined, b: number, tolerance = 1e-6) =>
  assert.ok(a !== undefined && Math.abs(a - b) <= tolerance, `${a} ${b}`);

test("every file of the folder is a metric of the table under its own name, or what they share", () => {
  const folder = fileURLToPath(new URL("../../../runtime/models/metrics", import.meta.url));
  const shared = ["built-in", "metric", "sums", "tables"];
  const files = readdirSync(folder).map((file) => file.replace(/\.ts$/, ""));
  assert.deepEqual(files.filter((file) => !shared.includes(file)).sort(), [...METRIC_NAMES].sort());
});

test("every metric says what it is, and every task has one by which it is judged", () => {
  for (const { title, help, tasks } of Object.values<Metric>(METRICS)) {
    assert.match(title, /^[A-Z]/);
    assert.ok(help.length > 10 && !help.endsWith("."));
    assert.ok(tasks.length > 0);
  }
  assert.deepEqual(
    Object.keys(TASKS).map((task) => headlineOf(task as Task)),
    ["accuracy", "bits", "f1", "r2", "error"],
  );
});

for (const task of Object.keys(TASKS) as Task[]) {
  test(`${task}: every metric of the task has a value, and none of another task`, () => {
    const { reading } = read(task, 50, "all");
    assert.deepEqual(
      Object.keys(reading.values).sort(),
      METRIC_NAMES.filter((name) => (METRICS[name] as Metric).tasks.includes(task)).sort(),
    );
    for (const value of Object.values(reading.values)) assert.ok(Number.isFinite(value));
  });

  test(`${task}: sums of batches add up, an example at a time`, () => {
    const { network, outputs, labels, targets } = examples(task, 8, "parts");
    const [whole, parts] = [sumsOf(network), sumsOf(network)];
    whole.add(outputs, labels, targets);
    const [o, t] = [outputs.length / 8, network.loss.target.size];
    for (let i = 0; i < 8; i++)
      parts.add(
        outputs.subarray(i * o, (i + 1) * o),
        labels.subarray(i * t),
        targets.subarray(i * t),
      );
    assert.deepEqual(parts.values, whole.values);
  });

  test(`${task}: sums that a client can have are believed, others are not`, () => {
    const { reader, values } = read(task, 20, "honest");
    assert.equal(reader.doubt(values, 20), undefined);
    assert.notEqual(reader.doubt(values.slice(1), 20), undefined);
    assert.notEqual(reader.doubt([], 20), undefined);
    const doubtful = values.map((_, i) => (i === values.length - 1 ? -1 : 1e12));
    assert.notEqual(reader.doubt(doubtful, 20), undefined);
  });

  test(`${task}: without sums there is what count and loss say`, () => {
    const { reader } = read(task, 20, "bare");
    const { values } = reader.read({ count: 20, correct: 5, loss: Math.LN2 });
    const expected = {
      classes: { accuracy: 0.25 },
      sequence: { bits: 1, perplexity: 2 },
      labels: {},
      numbers: {},
      input: { error: Math.LN2 },
    }[task];
    assert.deepEqual(values, expected);
  });
}

test("accuracy, top-5, precision, recall and F1 are those counted one by one", () => {
  const { reading, outputs, labels } = read("classes", 90, "classes");
  const predicted = Array.from(labels, (_, i) => {
    const row = [...outputs.subarray(7 * i, 7 * i + 7)];
    return [...row.keys()].sort((a, b) => row[b] - row[a]);
  });
  const share = (found: readonly boolean[]) => found.filter(Boolean).length / found.length;
  close(reading.values.accuracy, share(predicted.map((order, i) => order[0] === labels[i])));
  close(
    reading.values.top5,
    share(predicted.map((order, i) => order.slice(0, 5).includes(labels[i]))),
  );
  const mean = (of: (both: number, said: number, there: number) => number) => {
    const values = [...new Set(labels)].map((label) => {
      const there = labels.filter((one) => one === label).length;
      const said = predicted.filter(([first]) => first === label).length;
      const both = predicted.filter(([first], i) => first === label && labels[i] === label).length;
      return of(both, said, there);
    });
    return values.reduce((a, b) => a + b, 0) / values.length;
  };
  close(
    reading.values.precision,
    mean((both, said) => (said === 0 ? 0 : both / said)),
  );
  close(
    reading.values.recall,
    mean((both, _, there) => both / there),
  );
  close(
    reading.values.f1,
    mean((both, said, there) => (2 * both) / (said + there)),
  );
});

test("ROC-AUC is that of all pairs, to about a hundredth", () => {
  const { reading, outputs, targets } = read("labels", 300, "auc");
  const areas = [0, 1, 2, 3, 4].map((column) => {
    const scores = (there: number) =>
      [...outputs].filter((_, i) => i % 5 === column && targets[i] === there);
    const [without, withIt] = [scores(0), scores(1)];
    let wins = 0;
    for (const a of withIt) for (const b of without) wins += a > b ? 1 : a === b ? 0.5 : 0;
    return wins / (withIt.length * without.length);
  });
  areas.forEach((area, column) => close(reading.columns.auc?.[column], area, 0.01));
});

test("R2, squared and absolute error and bias are those of the columns, in the target's units", () => {
  const { reading, outputs, targets } = read("numbers", 40, "numbers", [2, 10]);
  [2, 10].forEach((unit, column) => {
    const of = (values: Float32Array) =>
      [...values].filter((_, i) => i % 2 === column).map((value) => unit * value);
    const [said, truth] = [of(outputs), of(targets)];
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    const squares = mean(said.map((value, i) => (value - truth[i]) ** 2));
    const spread = mean(truth.map((value) => (value - mean(truth)) ** 2));
    const at = (name: "r2" | "mse" | "mae" | "bias") => reading.columns[name]?.[column];
    close(at("r2"), 1 - squares / spread);
    close(at("mse"), squares, 1e-3);
    close(at("mae"), mean(said.map((value, i) => Math.abs(value - truth[i]))), 1e-4);
    close(at("bias"), mean(said) - mean(truth), 1e-4);
  });
});

test("of a column whose targets do not differ there is no R2", () => {
  const network = networkOf(TASKS.numbers);
  const sums = sumsOf(network);
  sums.add(Float32Array.of(1, 2, 3, 5), new Int32Array(), Float32Array.of(1, 7, 1, 8));
  const reader = metricReader({ description: TASKS.numbers, classes: [] });
  const { columns, values } = reader.read({
    ...{ count: 2, correct: 0, loss: 1 },
    sums: { values: [...sums.values], count: 2 },
  });
  assert.equal(columns.r2?.[0], undefined);
  assert.equal(values.r2, columns.r2?.[1]);
});

test("a small figure is shown with three of its digits, and never as nothing", () => {
  const cases = [
    [undefined, "-"],
    [0, "0.000"],
    [0.0003, "0.000300"],
    [-0.0123456, "-0.0123"],
    [4.56e-9, "4.56e-9"],
    [0.5, "0.500"],
    [12.34567, "12.346"],
    [123456, "1.235e+5"],
    [NaN, "NaN"],
  ] as const;
  for (const [value, text] of cases) assert.equal(figureText(value), text);
});
