import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { merged } from "../../../runtime/models/merged.js";
import { loadModel } from "../../../runtime/models/model.js";
import { networkOf } from "../../../runtime/models/network.js";
import { run } from "../command.js";
import { MODELS } from "./running.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-import-"));
after(() => rmSync(folder, { recursive: true }));

const LINEAR = join(MODELS, "onnx", "test_Linear", "model.onnx");

test("a file becomes a model that a federation begins with", async () => {
  const to = join(folder, "models", "linear");
  const imported = await run("import", LINEAR, "--to", to);
  assert.equal(imported.code, 0, imported.stderr);
  assert.match(imported.stdout, /linear: 1 layer, 88 parameters, 10 to classes\./);
  assert.match(imported.stdout, /does not say the loss; softmaxCrossEntropy is taken/);
  assert.match(imported.stdout, /--normalise none leaves them as they are/);
  const model = loadModel(readFileSync(join(to, "weights.safetensors")));

  // Rows whose class is the largest of eight outputs of the model itself.
  const rows = Array.from({ length: 40 }, (_, i) =>
    Array.from({ length: 10 }, (_, j) => Math.sin(i * 7 + j * 3)),
  );
  const data = join(folder, "data.csv");
  const head = [...Array.from({ length: 10 }, (_, j) => `x${j}`), "label"].join();
  writeFileSync(data, [head, ...rows.map((row, i) => [...row, `c${i % 8}`].join()), ""].join("\n"));
  const trained = join(folder, "run");
  const simulated = await run(
    ...["simulate", "--model", to, "--data", data, "--clients", "2", "--rounds", "1"],
    ...["--learning-rate", "1e-30", "--run", trained, "--zeta", "0"],
  );
  assert.equal(simulated.code, 0, simulated.stderr);
  const after = loadModel(readFileSync(join(trained, "model", "weights.safetensors")));
  assert.deepEqual([...after.weights], [...model.weights]);
  assert.deepEqual(
    after.classes,
    Array.from({ length: 8 }, (_, i) => `c${i}`),
  );
});

test("--head puts a new layer in place of the last one", async () => {
  const to = join(folder, "head.safetensors");
  const { code, stderr } = await run("import", LINEAR, "--head", "3", "--to", to);
  assert.equal(code, 0, stderr);
  const { description, layout } = loadModel(readFileSync(to));
  assert.deepEqual(description.layers, [{ type: "dense", units: 3 }]);
  assert.equal(layout.size, 33);
});

test("--lora puts adapters beside the dense layers but the last, which change no output yet", async () => {
  const file = join(MODELS, "keras", "two-dense.h5");
  const [plain, to] = ["plain", "lora"].map((name) => join(folder, `${name}.safetensors`));
  for (const args of [
    ["--to", plain],
    ["--lora", "2", "--to", to],
  ]) {
    const { code, stderr } = await run("import", file, ...args);
    assert.equal(code, 0, stderr);
  }
  const [whole, model] = [plain, to].map((path) => loadModel(readFileSync(path)));
  const { layers } = model.description;
  assert.deepEqual(
    layers.map((layer) => "lora" in layer && layer.lora),
    [{ rank: 2, alpha: 4 }, false],
  );
  assert.deepEqual(
    networkOf(model.description).shares.frozen.places.map(({ name }) => name),
    ["0.kernel", "0.bias"],
  );
  assert.deepEqual(merged(model).weights, whole.weights);
  const refused = await run("import", LINEAR, "--lora", "2", "--to", join(folder, "none"));
  assert.match(
    refused.stderr,
    /^fedflat: "--lora" expected a dense layer before the last, got none\n$/,
  );
});

test("what cannot be read is one sentence, and leaves nothing behind", async () => {
  const text = join(folder, "notes.txt");
  writeFileSync(text, "no model at all");
  const cut = join(folder, "cut.h5");
  writeFileSync(cut, readFileSync(join(MODELS, "keras", "two-dense.h5")).subarray(0, 1000));
  const empty = join(folder, "empty.keras");
  writeFileSync(empty, "PK\x03\x04".padEnd(100));
  const mistakes: readonly [string, RegExp][] = [
    [text, /^fedflat: ".*notes.txt" expected a model of .*ONNX.*, got something else\n$/],
    [cut, /^fedflat: ".*cut.h5" expected \d+ bytes, got \d+ \(cut off\?\)\n$/],
    [
      empty,
      /^fedflat: ".*empty.keras" .* expected a ZIP directory, got none \(a file cut off\?\)\n$/,
    ],
    [
      join(MODELS, "onnx", "test_ELU", "model.onnx"),
      /^fedflat: "node 0 \(Elu\).alpha" in ".*model.onnx" expected 1, got 2\n$/,
    ],
    [
      join(folder, "none.h5"),
      /^fedflat: ".*none.h5" expected a file that can be read, got a path where there is nothing\n$/,
    ],
  ];
  for (const [file, message] of mistakes) {
    const to = join(folder, "nothing");
    const outcome = await run("import", file, "--to", to);
    assert.notEqual(outcome.code, 0);
    assert.match(outcome.stderr, message);
    assert.equal(outcome.stdout, "");
    assert.ok(!existsSync(to));
  }
});

test("flags that do not fit the file are wrong usage", async () => {
  const description = join(folder, "bytes.json");
  writeFileSync(description, Buffer.from("\x1b[31m\xff\n{", "latin1"));
  const network = join(folder, "network.json");
  writeFileSync(network, "{}");
  for (const [argv, message] of [
    [["--head", "1"], /"--head" expected 2 or more.* got 1/],
    [["--description", network], /"--description" expected a state_dict beside it.* got ONNX/],
    [["--description", description], /bytes.json" expected JSON, got bytes that are no text/],
  ] as const) {
    const to = join(folder, "unfit");
    const { code, stderr } = await run("import", LINEAR, "--to", to, ...argv);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
    assert.match(stderr, /^fedflat: [ -~]+\n$/);
    assert.ok(!existsSync(to));
  }
  const one = join(folder, "one.safetensors");
  const flags = ["--head", "1", "--loss", "sigmoidCrossEntropy", "--to", one];
  const { code, stdout } = await run("import", LINEAR, ...flags);
  assert.equal(code, 0);
  assert.match(stdout, /dense with 1 output and/);
});

test("nothing is written over or beside what is there, nor where nothing can be", async () => {
  const model = join(folder, "places.safetensors");
  assert.equal((await run("import", LINEAR, "--to", model)).code, 0);
  const full = join(folder, "full");
  mkdirSync(full);
  writeFileSync(join(full, "notes.txt"), "mine");
  const empty = join(folder, "vacant");
  mkdirSync(empty);
  const imports = (to: string) => ["import", LINEAR, "--to", to];
  const exports = (to: string, out: string) => ["export", model, "--to", to, "--out", out];
  for (const [argv, message] of [
    [imports(full), /"--to" expected a new or empty folder, got ".*full", which is not empty/],
    [imports(model), /"--to" expected a new file, got ".*places.safetensors"/],
    [exports("tfjs", full), /"--out" expected a new or empty folder, got ".*full"/],
    [exports("onnx", join(full, "notes.txt")), /"--out" expected a new file, got ".*notes.txt"/],
    [exports("onnx", empty), /"--out" expected a new file, got ".*vacant", which is a folder/],
  ] as const) {
    const { code, stderr } = await run(...argv);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  }
  assert.deepEqual(readdirSync(full), ["notes.txt"]);
  assert.equal(readFileSync(join(full, "notes.txt"), "utf8"), "mine");
  for (const argv of [
    imports("/proc/x"),
    imports("/proc/x/y.safetensors"),
    exports("tfjs", "/proc/x"),
    exports("onnx", "/proc/x.onnx"),
  ]) {
    const { code, stderr } = await run(...argv);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^fedflat: "\/proc\/x[^"]*" expected a place that can be [^\n]+\n$/);
    assert.doesNotMatch(stderr, /tmp/);
  }
  assert.equal((await run(...exports("tfjs", empty))).code, 0);
  assert.deepEqual(readdirSync(empty).sort(), ["model.json", "weights.bin"]);
});

test("names of classes and columns go with the model through every format", async () => {
  const data = join(folder, "flowers.csv");
  const lines = Array.from({ length: 30 }, (_, i) => `${i},${-i},${["rose", "\u00e9lan"][i % 2]}`);
  writeFileSync(data, ["width,height,label", ...lines, ""].join("\n"));
  const trained = join(folder, "flowers");
  const flags = ["--clients", "2", "--rounds", "1", "--normalise", "none", "--run", trained];
  const simulated = await run("simulate", "--data", data, "--model", "perceptron", ...flags);
  assert.equal(simulated.code, 0, simulated.stderr);
  for (const [to, file, description] of [
    ["onnx", ""],
    ["keras", ""],
    ["tfjs", "model.json"],
    ["torch", "model.safetensors", "description.json"],
  ] as const) {
    const out = join(folder, `named-${to}`);
    const exported = await run("export", trained, "--to", to, "--out", out);
    assert.equal(exported.code, 0, exported.stderr);
    const more = description === undefined ? [] : ["--description", join(out, description)];
    const back = join(folder, `named-${to}.safetensors`);
    const imported = await run("import", join(out, file), "--to", back, ...more);
    assert.equal(imported.code, 0, imported.stderr);
    const { classes, columns } = loadModel(readFileSync(back));
    assert.deepEqual(
      [classes, columns],
      [
        ["rose", "\u00e9lan"],
        ["width", "height"],
      ],
    );
    // A new last layer has classes of its own.
    if (to !== "onnx") continue;
    const headed = join(folder, "headed.safetensors");
    assert.equal((await run("import", out, "--head", "2", "--to", headed)).code, 0);
    assert.deepEqual(loadModel(readFileSync(headed)).classes, ["0", "1"]);
  }
});

test("export writes a file that import reads to the same weights", async () => {
  const to = join(folder, "there.safetensors");
  assert.equal((await run("import", LINEAR, "--to", to)).code, 0);
  for (const [format, out, file] of [
    ["onnx", "back.onnx", "back.onnx"],
    ["tfjs", "back", "back/model.json"],
  ]) {
    const exported = await run("export", to, "--to", format, "--out", join(folder, out));
    assert.equal(exported.code, 0, exported.stderr);
    const back = join(folder, `${format}.safetensors`);
    const imported = await run("import", join(folder, file), "--to", back);
    assert.equal(imported.code, 0, imported.stderr);
    assert.deepEqual(
      [...loadModel(readFileSync(back)).weights],
      [...loadModel(readFileSync(to)).weights],
    );
  }
});
