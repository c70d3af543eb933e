import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { encode } from "jpeg-js";
import { PNG } from "pngjs";
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
  mkdirSync(join(folder, "empty"));
  const empty = await run("predict", "--model", join(folder, "empty"), "--data", data);
  assert.equal(empty.code, 1);
  assert.match(
    empty.stderr,
    /^fedflat: "--model" expected a run's folder, a model's folder, its weights.safetensors, or .* got "[^"]+", where there is none\n$/,
  );
  const damaged = join(folder, "damaged");
  mkdirSync(damaged);
  writeFileSync(join(damaged, "weights.safetensors"), "not a model at all");
  const file = join(damaged, "weights.safetensors");
  for (const argv of [
    ["predict", "--model", damaged, "--data", data],
    ["export", damaged, "--to", "onnx", "--out", join(folder, "damaged.onnx")],
  ]) {
    const outcome = await run(...argv);
    assert.equal(outcome.code, 1);
    assert.ok(outcome.stderr.startsWith(`fedflat: "header" in "${file}" expected at most `));
    assert.match(outcome.stderr, /\(no model's file, or one cut off\?\)\n$/);
  }
  writeFileSync(file, "");
  const nothing = await run("predict", "--model", damaged, "--data", data);
  assert.equal(nothing.stderr, `fedflat: "${file}" expected at least 8 bytes, got 0\n`);
  const nowhere = await run("export", join(folder, "nowhere"), "--to", "onnx");
  assert.match(nowhere.stderr, /^fedflat: "trained" expected a run's folder/);
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
      `fedflat: "0.kernel" in "${join(diverged, "weights.safetensors")}" expected finite numbers, got NaN at [1, 0]\n`,
    );
  }
});

test("a model is found in a run's folder, in its own, and as a file", async () => {
  const expected = await run("predict", "--model", model, "--data", data);
  // `model` lies in `folder` as in a run's.
  for (const place of [folder, join(model, "weights.safetensors")]) {
    const { code, stdout } = await run("predict", "--model", place, "--data", data);
    assert.equal(code, 0);
    assert.equal(stdout, expected.stdout);
  }
  const through = await run("predict", "--model", join(data, "model"), "--data", data);
  assert.equal(through.code, 1);
  assert.match(through.stderr, /, got a path that leads through a file, "[^"]+"\n$/);
});

test("pictures are read as PNG and JPEG, a file or a folder, in grey and in colour", async () => {
  const place = join(folder, "pictures");
  mkdirSync(place);
  const pixels = (...colours: [number, number, number][]) =>
    Buffer.from(colours.flatMap((colour) => [...colour, 255]));
  const png = (data: Buffer) =>
    PNG.sync.write(Object.assign(new PNG({ width: 2, height: 1 }), { data }));
  writeFileSync(join(place, "1.png"), png(pixels([255, 0, 0], [10, 20, 30])));
  writeFileSync(join(place, "2.PNG"), png(pixels([0, 255, 0], [200, 200, 200])));
  // JPEG is exact on an even grey.
  const grey = pixels([77, 77, 77], [77, 77, 77]);
  writeFileSync(join(place, "3.jpeg"), encode({ width: 2, height: 1, data: grey }, 100).data);
  // What ITU-R BT.601 makes of the colours, and the colours themselves.
  for (const [channels, rows] of [
    [1, ["76,18", "150,200", "77,77"]],
    [3, ["255,0,0,10,20,30", "0,255,0,200,200,200", "77,77,77,77,77,77"]],
  ] as const) {
    const described = {
      input: [1, 2, channels],
      layers: [{ type: "flatten" }, { type: "dense", units: 2 }],
    } as const;
    const { layout } = networkOf(described);
    const weights = Float32Array.from({ length: layout.size }, (_, i) => ((i % 5) - 2) / 500);
    const card = { description: described, layout, weights, classes: ["no", "yes"] };
    const file = join(folder, `of-${channels}.safetensors`);
    writeFileSync(file, writeModel(card));
    const numbers = join(folder, `of-${channels}.csv`);
    writeFileSync(numbers, `${rows.join("\n")}\n`);
    const expected = await run("predict", "--model", file, "--data", numbers);
    const { code, stdout, stderr } = await run("predict", "--model", file, "--data", place);
    assert.equal(code, 0, stderr);
    assert.equal(stdout, expected.stdout, expected.stderr);
    const one = await run("predict", "--model", file, "--data", join(place, "3.jpeg"));
    assert.equal(one.stdout.trim().split("\n")[1], stdout.trim().split("\n")[3]);
  }
  const refused = async (name: string, bytes: Uint8Array, message: RegExp) => {
    writeFileSync(join(folder, name), bytes);
    const file = join(folder, "of-1.safetensors");
    const { code, stderr } = await run("predict", "--model", file, "--data", join(folder, name));
    assert.equal(code, 1);
    assert.match(stderr, message);
  };
  const large = PNG.sync.write(new PNG({ width: 3, height: 2 }));
  await refused("large.png", large, /^fedflat: [^\n]*large.png[^\n]*1x2, got 2x3\n$/);
  await refused("no.jpg", Buffer.from("no picture"), /^fedflat: [^\n]*no.jpg[^\n]*PNG or JPEG/);
  await refused("cut.png", large.subarray(0, 20), /^fedflat: [^\n]*cut.png[^\n]*PNG or JPEG/);
});
