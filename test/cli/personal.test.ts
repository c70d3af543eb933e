import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadModel } from "../../runtime/models/model.js";
import { run, start } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-personal-"));
after(() => rmSync(folder, { recursive: true }));

/** Points of three classes, in a table without a test half. */
const data = join(folder, "points.csv");
const lines = Array.from({ length: 90 }, (_, i) => `${(i % 3) * 4 + i / 90},${-(i % 3)},c${i % 3}`);
writeFileSync(data, ["x,y,label", ...lines, ""].join("\n"));
const SIMULATE = ["simulate", "--data", data, "--model", "perceptron", "--clients", "3"];

const linesOf = (path: string) =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

test("simulate --personalise says and keeps what fine-tuning is worth on the clients' own hold-outs", async () => {
  const to = join(folder, "tuned");
  const words = ["--rounds", "1", "--learning-rate", "0.01", "--personalise", "30"];
  const { code, stdout, stderr } = await run(...SIMULATE, "--run", to, ...words);
  assert.equal(code, 0, stderr);
  const { global, personal } = JSON.parse(readFileSync(join(to, "personal.json"), "utf8"));
  // The very models that the clients evaluated after the round.
  const [{ federated }] = linesOf(join(to, "evaluations.jsonl"));
  assert.deepEqual(global, federated.spread);
  assert.ok(personal.mean > global.mean && personal.worstTenth >= global.worstTenth);
  assert.match(stdout, /on hold-outs, mean of the clients [\d.]+ %, of the worst tenth of them/);
  assert.match(stdout, /on the clients' own hold-outs, with the last model: .*; personalised: /);
  assert.match(readFileSync(join(to, "summary.md"), "utf8"), /by client: mean of the clients/);
});

test("Ditto's clients evaluate their own models, beside the test of the global one", async () => {
  const to = join(folder, "ditto");
  const words = ["--test", data, "--rounds", "2", "--algorithm", "ditto", "--set", "lambda=0"];
  const { code, stderr } = await run(...SIMULATE, "--run", to, ...words);
  assert.equal(code, 0, stderr);
  for (const { test, federated } of linesOf(join(to, "evaluations.jsonl"))) {
    assert.equal(test.count, 90);
    assert.equal(federated.clients, 3);
  }
});

test("a resumed simulation has its clients' personal layers", async () => {
  const words = ["--personal", "last 1", "--head-epochs", "2", "--rounds", "3"];
  const whole = join(folder, "whole");
  assert.equal((await run(...SIMULATE, "--run", whole, ...words)).code, 0);
  const to = join(folder, "resumed");
  const cut = await run(...SIMULATE, "--run", to, ...words, "--rounds", "2");
  assert.equal(cut.code, 0, cut.stderr);
  const resumed = await run(...SIMULATE, "--run", to, ...words, "--resume");
  assert.equal(resumed.code, 0, resumed.stderr);
  const last = (path: string) => linesOf(join(path, "evaluations.jsonl")).at(-1).federated;
  assert.deepEqual(last(to), last(whole));
});

test("join --personalise leaves a model that predict reads", async () => {
  const to = join(folder, "served");
  const words = ["--rounds", "1", "--gather", "1", "--minimum", "1", "--test", data];
  const server = start("serve", "--model", "perceptron", "--port", "0", "--run", to, ...words);
  const [, url] = await server.until(/Listening at (ws:\S+);/);
  const state = join(folder, "state");
  const joined = await run(
    ...["join", "--url", url, "--data", data, "--state", state, "--personalise", "3"],
  );
  assert.equal(joined.code, 0, joined.stderr);
  assert.match(joined.stdout, /examples held out, accuracy is [\d.]+ % with the last model and/);
  assert.equal((await server.ended).code, 0);
  const file = join(state, "personal");
  assert.ok(existsSync(file) && joined.stdout.includes(file));
  const global = loadModel(readFileSync(join(to, "model", "weights.safetensors")));
  assert.notDeepEqual(loadModel(readFileSync(file)).weights, global.weights);
  const predicted = await run("predict", "--model", file, "--data", data);
  assert.equal(predicted.code, 0, predicted.stderr);
});

test("head epochs of a model without personal layers end in one sentence", async () => {
  const { code, stderr } = await run(
    ...SIMULATE,
    "--run",
    join(folder, "no"),
    "--head-epochs",
    "1",
  );
  assert.equal(code, 2);
  assert.match(stderr, /"--head-epochs" expected a model with personal layers/);
  assert.equal(stderr.trim().split("\n").length, 1);
});
