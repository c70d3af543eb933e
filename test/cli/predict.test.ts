import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { writeModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { run } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-predict-"));
after(() => rmSync(folder, { recursive: true }));

// Two inputs, two classes: logits (x0, x1) after the normalisation (x - 1) / 2.
const description = {
  input: [2],
  layers: [{ type: "dense", units: 2 }],
} as const;
const { layout } = networkOf(description);
const model = join(folder, "model");
mkdirSync(model);
writeFileSync(
  join(model, "weights.safetensors"),
  writeModel({
    description,
    layout,
    weights: Float32Array.of(1, 0, 0, 1, 0, 0),
    normalisation: { scale: 1, mean: [1], deviation: [2] },
    classes: ["no", "yes, please"],
  }),
);
const data = join(folder, "data.csv");
writeFileSync(data, "a,b,label\n3,1,no\n1,5,no\n");

// softmax(1, 0) and softmax(0, 2)
const [P, Q] = [1 / (1 + Math.exp(-1)), 1 / (1 + Math.exp(2))];

test("CSV: names and probabilities of each example, and the accuracy", async () => {
  const { code, stdout, stderr } = await run(...["predict", "--model", model, "--data", data]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(stdout.trim().split("\n"), [
    'label,prediction,no,"yes, please"',
    `no,no,${P.toFixed(6)},${(1 - P).toFixed(6)}`,
    `no,"yes, please",${Q.toFixed(6)},${(1 - Q).toFixed(6)}`,
  ]);
  assert.equal(stderr, "accuracy 50.00 % of 2 examples\n");
});

test("JSON: one object a line", async () => {
  const { code, stdout } = await run(...["predict", "--model", model, "--data", data, "--json"]);
  assert.equal(code, 0);
  const lines = stdout.trim().split("\n");
  const [first, second, last] = lines.map((line) => JSON.parse(line));
  assert.equal(first.prediction, "no");
  assert.equal(second.prediction, "yes, please");
  assert.ok(Math.abs(first.probabilities[0] - P) < 1e-6);
  assert.deepEqual(last, { event: "done", examples: 2, accuracy: 0.5 });
});

test("data without labels have no accuracy", async () => {
  const bare = join(folder, "bare.csv");
  writeFileSync(bare, "a,b\n3,1\n");
  const { code, stdout, stderr } = await run(...["predict", "--model", model, "--data", bare]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(stdout.trim().split("\n"), [
    'prediction,no,"yes, please"',
    `no,${P.toFixed(6)},${(1 - P).toFixed(6)}`,
  ]);
  assert.equal(stderr, "");
});

test("examples of another shape than the model's are refused", async () => {
  const wide = join(folder, "wide.csv");
  writeFileSync(wide, "1,2,3,no\n");
  const { code, stdout, stderr } = await run(...["predict", "--model", model, "--data", wide]);
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /^fedflat: .*wide.csv.*\n$/);
});

test("a folder without a model, and a damaged model, are refused", async () => {
  const empty = await run("predict", "--model", folder, "--data", data);
  assert.equal(empty.code, 1);
  assert.match(empty.stderr, /^fedflat: "--model" expected a folder with weights/);
  const damaged = join(folder, "damaged");
  mkdirSync(damaged);
  writeFileSync(join(damaged, "weights.safetensors"), "not a model at all");
  const outcome = await run("predict", "--model", damaged, "--data", data);
  assert.equal(outcome.code, 1);
  assert.match(outcome.stderr, /^fedflat: "header" expected .*\n$/);
});

test("a model whose numbers are not finite is refused by tensor and place", async () => {
  const diverged = join(folder, "diverged");
  mkdirSync(diverged);
  writeFileSync(
    join(diverged, "weights.safetensors"),
    writeModel({
      description,
      layout,
      weights: Float32Array.of(1, 0, NaN, 1, 0, 0),
      classes: ["no", "yes"],
    }),
  );
  for (const command of ["predict", "flatness"]) {
    const outcome = await run(command, "--model", diverged, "--data", data);
    assert.equal(outcome.code, 1);
    assert.equal(outcome.stdout, "");
    assert.equal(
      outcome.stderr,
      'fedflat: "0.kernel" expected finite numbers, got NaN at [1, 0]\n',
    );
  }
});
