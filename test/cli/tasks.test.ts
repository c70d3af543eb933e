import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { random } from "../../runtime/tensors/random.js";
import { run } from "./command.js";

// Each task from a file to a served model, as a person at a terminal does it.

const folder = mkdtempSync(join(tmpdir(), "fedflat-tasks-"));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string, content: string | object) => {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};
const simulate = (name: string, ...argv: string[]) =>
  run(
    ...["simulate", "--run", join(folder, name), "--clients", "2", "--rounds", "2"],
    ...["--zeta", "0", "--learning-rate", "0.2", ...argv],
  );
const predicted = async (name: string, ...argv: string[]) => {
  const { code, stdout, stderr } = await run("predict", "--model", join(folder, name), ...argv);
  assert.equal(code, 0, stderr);
  return { lines: stdout.trim().split("\n"), said: stderr };
};
const lastEvaluation = (name: string) =>
  JSON.parse(
    readFileSync(join(folder, name, "evaluations.jsonl"), "utf8")
      .trim()
      .split("\n")
      .at(-1)!,
  );

const chance = random("cli tasks");
const waves = file(
  "waves.csv",
  [
    "s,c",
    ...Array.from({ length: 300 }, (_, t) => [t / 5, t / 5 + 1.57].map(Math.sin).join(",")),
    "",
  ].join("\n"),
);

test("a forecast: windows of a series, the row behind, predicted in its units", async () => {
  const windows = ["--window", "8", "--stride", "2"];
  const { code, stdout, stderr } = await simulate(
    ...["forecast", "--data", waves, ...windows, "--target", "next:c", "--model", "forecast"],
  );
  assert.equal(code, 0, stderr);
  assert.match(stdout, /Done after 2 rounds: R2 -?\d/);
  const { lines, said } = await predicted(
    ...["forecast", "--data", waves, ...windows, "--target", "next:c"],
  );
  assert.equal(lines[0], "c,predicted c");
  assert.equal(lines.length, 1 + Math.floor((300 - 9) / 2) + 1);
  assert.match(said, /^R2 .* of 146 examples\n$/);
});

test("an autoencoder: each window's error", async () => {
  const model = file("autoencoder.json", {
    input: [8, 2],
    loss: { type: "meanSquaredError", target: "input" },
    layers: [
      { type: "flatten" },
      { type: "dense", units: 6, activation: "tanh" },
      { type: "dense", units: 16 },
    ],
  });
  const argv = ["--data", waves, "--window", "8", "--target", "input"];
  const { code, stdout, stderr } = await simulate("anomaly", ...argv, "--model", model);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /round 2\/2: error 0\.\d+, loss/);
  assert.doesNotMatch(stdout, /accuracy/i);
  const { lines } = await predicted("anomaly", ...argv);
  assert.equal(lines[0], "error");
  assert.ok(lines.slice(1).every((error) => Number(error) >= 0));
});

test("the next character: bits per character, each text a client", async () => {
  const texts = join(folder, "texts");
  mkdirSync(texts);
  for (const name of ["a", "b"])
    writeFileSync(join(texts, `${name}.txt`), "the cat sat on the mat. ".repeat(30));
  const model = file("characters.json", {
    input: [12],
    loss: { type: "softmaxCrossEntropy" },
    layers: [
      { type: "embedding", vocabulary: 11, units: 8 },
      { type: "gru", units: 8, returnSequences: true },
      { type: "dense", units: 11 },
    ],
  });
  const argv = ["--data", texts, "--window", "12"];
  const { code, stdout, stderr } = await simulate(
    ...["text", ...argv, "--model", model, "--split", "groups"],
  );
  assert.equal(code, 0, stderr);
  assert.match(stdout, /Done after 2 rounds: bits per symbol \d/);
  const { metrics, loss } = lastEvaluation("text").federated;
  assert.ok(Math.abs(metrics.bits - loss / Math.LN2) < 1e-12);
  assert.ok(Math.abs(metrics.perplexity - Math.exp(loss)) < 1e-9);
  const { lines } = await predicted("text", "--data", join(texts, "a.txt"));
  assert.equal([...JSON.stringify(lines[1])].length >= 12, true);
  const other = file("other.txt", "a quite different text, with a letter q");
  const refused = await run("predict", "--model", join(folder, "text"), "--data", other);
  assert.match(refused.stderr, /"other.txt" character \d+ expected one of the model's 11, got "q"/);
});

test("several labels at once, judged by F1", async () => {
  const rows = Array.from({ length: 120 }, () => {
    const [a, b] = [2 * chance.next() - 1, 2 * chance.next() - 1];
    return [a, b, Number(a > 0), Number(b > 0), Number(a + b > 0)].join(",");
  });
  const data = file("labels.csv", ["a,b,hot,wet,both", ...rows, ""].join("\n"));
  const model = file("labels.json", {
    input: [2],
    loss: { type: "sigmoidCrossEntropy" },
    layers: [{ type: "dense", units: 3 }],
  });
  const argv = ["--data", data, "--target", "hot,wet,both"];
  const { code, stdout, stderr } = await simulate("labels", ...argv, "--model", model);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /Done after 2 rounds: F1 \d+\.\d %/);
  assert.equal(lastEvaluation("labels").federated.columns.auc.length, 3);
  const { lines, said } = await predicted("labels", ...argv);
  assert.equal(lines[0], "labels,prediction,hot,wet,both");
  assert.match(said, /^F1 .*ROC-AUC/);
});

test("what --window cannot cut is said in one sentence", async () => {
  for (const [argv, expected] of [
    [["--window", "400", "--target", "next"], /expected a series of at least 401/],
    [["--window", "8", "--target", "c"], /"--target" expected next, next:COLUMNS, input or label/],
    [["--window", "8", "--target", "next:q"], /target column expected one of s, c, got "q"/],
    [["--window", "8"], /expected a label each/],
  ] as const) {
    const { code, stderr } = await run("simulate", "--data", waves, ...argv);
    assert.notEqual(code, 0);
    assert.match(stderr, expected);
    assert.doesNotMatch(stderr, /\n\s+at /);
  }
});
