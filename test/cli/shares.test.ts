import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadModel } from "../../runtime/models/model.js";
import { run, start } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-shares-"));
after(() => rmSync(folder, { recursive: true }));

/** Points of three classes, in a table without a test half. */
const data = join(folder, "points.csv");
const lines = Array.from({ length: 60 }, (_, i) => `${(i % 3) * 4 + i / 60},${-(i % 3)},c${i % 3}`);
writeFileSync(data, ["x,y,label", ...lines, ""].join("\n"));
const model = join(folder, "model.json");
const dense = (units: number) => ({ type: "dense", units });
writeFileSync(
  model,
  JSON.stringify({ input: [2], layers: [dense(6), { type: "flatten" }, dense(5), dense(3)] }),
);
const given = ["--data", data, "--model", model, "--clients", "2"];

const layersIn = (path: string): Record<string, unknown>[] =>
  loadModel(readFileSync(join(path, "weights.safetensors"))).description.layers.map((layer) => ({
    ...layer,
  }));
const marked = (path: string, mark: string): number[] =>
  layersIn(path).flatMap((layer, index) => (layer[mark] === true ? [index] : []));

test("words mark layers that have parameters, and clients evaluate where some are personal", async () => {
  const to = join(folder, "run");
  const words = ["--freeze", "all but last 2", "--personal", "last 1"];
  const { code, stderr } = await run(
    ...["simulate", ...given, "--test", data, "--rounds", "2", "--run", to, ...words],
  );
  assert.equal(code, 0, stderr);
  for (const command of [
    ["predict", "--model", to, "--data", data],
    ["export", to, "--to", "keras", "--out", join(folder, "noted.keras")],
  ]) {
    const { stdout, stderr } = await run(...command);
    assert.match(stdout + stderr, /^Layer 3 is personal: here it is as a run begins with/m);
  }
  assert.deepEqual(marked(join(to, "model"), "frozen"), [0]);
  assert.deepEqual(marked(join(to, "model"), "personal"), [3]);
  const evaluations = readFileSync(join(to, "evaluations.jsonl"), "utf8").trim().split("\n");
  assert.equal(evaluations.length, 2);
  for (const line of evaluations) {
    const { test, federated } = JSON.parse(line);
    assert.equal(test, undefined);
    // Of about a tenth of the examples, which the clients held out.
    assert.ok(federated.count > 0 && federated.count < 12, `${federated.count}`);
  }
});

test("a served run of a model with personal layers is evaluated by its clients", async () => {
  const to = join(folder, "served");
  const words = ["--personal", "last 1", "--rounds", "1", "--gather", "1", "--minimum", "1"];
  const server = start(
    ...["serve", "--model", model, "--test", data, "--port", "0", "--run", to, ...words],
  );
  const [, url] = await server.until(/Listening at (ws:\S+);/);
  const joined = await run("join", "--url", url, "--data", data, "--state", join(folder, "state"));
  assert.equal(joined.code, 0, joined.stderr);
  assert.equal((await server.ended).code, 0);
  const { federated } = JSON.parse(readFileSync(join(to, "evaluations.jsonl"), "utf8"));
  assert.ok(federated.count > 0 && federated.count < 12, `${federated.count}`);
});

test("words that mark nothing, or everything, end in one sentence", async () => {
  for (const [flag, word, expected] of [
    ["--freeze", "most", /"--freeze" expected "all but last N".*got "most"/],
    ["--personal", "all but last", /"--personal" expected .*got "all but last"/],
    ["--freeze", "conv2d", /"--freeze" expected a type that the model has, got "conv2d"/],
    ["--personal", "last 3", /"--personal" expected 1 to 2 of the model's layers/],
    ["--freeze", "first 0", /"--freeze" expected 1 to 2 of the model's layers/],
  ] as const)
    for (const command of [
      ["simulate", ...given, "--run", join(folder, "none")],
      ["serve", "--model", model, "--port", "0", "--run", join(folder, "none")],
    ]) {
      const { code, stderr } = await run(...command, flag, word);
      assert.equal(code, 2, word);
      assert.match(stderr, expected);
      assert.equal(stderr.trim().split("\n").length, 1);
    }
});

test("words that contradict each other, or leave nothing to send, end in one sentence", async () => {
  for (const [words, expected] of [
    [["--freeze", "first 2", "--personal", "last 2"], /"--personal" expected layers that are not/],
    [
      ["--freeze", "all but last 1", "--personal", "last 1"],
      /"--personal" expected to leave a layer that is trained and sent, got "last 1"/,
    ],
    [["--freeze", "dense"], /"--freeze" expected to leave a layer/],
    [["--personalise-rate", "0.1"], /"--personalise-rate" expected --personalise beside it/],
    [["--personalise", "1", "--personalise-rate", "0"], /"--personalise-rate" expected more/],
    [["--algorithm", "ditto", "--set", "lambda=-1"], /"--set lambda" expected 0 or more for ditto/],
  ] as const) {
    const none = join(folder, "none");
    const { code, stderr } = await run("simulate", ...given, "--run", none, ...words);
    assert.equal(code, 2, stderr);
    assert.match(stderr, expected);
    assert.equal(stderr.trim().split("\n").length, 1);
    assert.ok(!existsSync(none));
  }
});

test("a run is resumed with the frozen and personal layers that it was begun with, by their flags", async () => {
  const to = join(folder, "begun");
  const command = ["simulate", ...given, "--run", to];
  const begun = await run(...command, "--rounds", "1", "--personal", "last 1");
  assert.equal(begun.code, 0, begun.stderr);
  const again = [...command, "--rounds", "2", "--resume"];
  for (const [words, expected] of [
    [[], /"--personal" expected the personal layers \(3\) .* got none/],
    [["--personal", "last 2"], /"--personal" expected the personal layers \(3\) .* got 2, 3/],
    [["--personal", "last 1", "--freeze", "first 1"], /"--freeze" expected .*\(none\).* got 0/],
  ] as const) {
    const { code, stderr } = await run(...again, ...words);
    assert.equal(code, 1);
    assert.match(stderr, expected);
  }
  const epochs = await run(...again, "--personal", "last 1", "--head-epochs", "1");
  assert.equal(epochs.code, 0, epochs.stderr);
});

test("import marks the layers of what it reads", async () => {
  const file = join(folder, "exported.onnx");
  const exported = await run("export", join(folder, "run"), "--to", "onnx", "--out", file);
  assert.equal(exported.code, 0, exported.stderr);
  const to = join(folder, "imported");
  const words = ["--freeze", "all but last 2", "--personal", "last 1"];
  const imported = await run("import", file, "--to", to, ...words);
  assert.equal(imported.code, 0, imported.stderr);
  const kinds = (mark: string) => layersIn(to).filter((layer) => layer[mark] === true);
  assert.deepEqual(
    kinds("frozen").map(({ units }) => units),
    [6],
  );
  assert.deepEqual(
    kinds("personal").map(({ units }) => units),
    [3],
  );
  const refused = await run("import", file, "--to", join(folder, "no"), "--freeze", "all");
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /"--freeze" expected .*got "all"/);
});

test("a layer with lora is not frozen: its kernel is, and its adapters learn", async () => {
  const path = join(folder, "adapted.json");
  const adapted = { ...dense(5), lora: { rank: 1, alpha: 1 } };
  writeFileSync(path, JSON.stringify({ input: [2], layers: [adapted, dense(3)] }));
  const to = join(folder, "adapted");
  const { code, stderr } = await run(
    ...["simulate", "--data", data, "--model", path, "--clients", "2", "--run", to],
    ...["--freeze", "first 1"],
  );
  assert.equal(code, 2);
  assert.match(stderr, /^fedflat: "--freeze" expected layers without lora: [^\n]*\n$/);
  assert.ok(!existsSync(to));
});

test("import reads files alone, and says so in one line whatever the name", async () => {
  const pipe = join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  for (const [path, expected] of [
    [pipe, /^fedflat: "[^"]*pipe" expected a file, got a pipe or a device\n$/],
    ["/dev/zero", /^fedflat: "\/dev\/zero" expected a file, got a pipe or a device\n$/],
    [join(folder, "two\nlines"), /^fedflat: "[^\n]*two\ufffdlines" expected a file[^\n]*\n$/],
  ] as const) {
    const { code, stderr } = await run("import", path, "--to", join(folder, "not-made"));
    assert.equal(code, 2, path);
    assert.match(stderr, expected);
  }
});
