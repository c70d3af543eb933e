import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { writeModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { run } from "../cli/command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-flatness-"));
after(() => rmSync(folder, { recursive: true }));

// Two inputs, two classes: logits (x0, x1) after the normalisation (x - 1) / 2, on the examples (1,
// 0) and (0, 2).
const description = {
  input: [2],
  layers: [{ type: "dense", units: 2 }],
} as const;
const model = join(folder, "model");
mkdirSync(model);
writeFileSync(
  join(model, "weights.safetensors"),
  writeModel({
    description,
    layout: networkOf(description).layout,
    weights: Float32Array.of(1, 0, 0, 1, 0, 0),
    normalisation: { scale: 1, mean: [1], deviation: [2] },
    classes: ["no", "yes"],
  }),
);
const data = join(folder, "data.csv");
writeFileSync(data, "a,b,label\n3,1,no\n1,5,no\n");

// The Hessian is the mean of p (1 - p) x x' kron [1 -1; -1 1] with x = (x0, x1, 1): trace and top
// eigenvalue by hand.
const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const [u, v] = [1, -2].map((z) => sigmoid(z) * (1 - sigmoid(z)));
const TRACE = (2 * 2 * u + 2 * 5 * v) / 2;
/**
 * u a a' + v b b' with a = (1, 0, 1), b = (0, 2, 1) has the eigenvalues of [[2u, s], [s, 5v]], s =
 * sqrt(uv) a'b.
 */
const s2 = u * v;
const TOP = (2 * u + 5 * v) / 2 + Math.sqrt(((2 * u - 5 * v) / 2) ** 2 + s2);

test("eigenvalues and trace of the whole and of each layer, as JSON and as a file; the slice as CSV, SVG and PNG", async () => {
  const out = join(folder, "out");
  const { code, stdout, stderr } = await run(
    ...["flatness", "--model", model, "--data", data, "--out", out],
    ...["--top", "2", "--per-layer", "--slice", "--slice-points", "5"],
    "--json",
  );
  assert.equal(code, 0, stderr);
  const { event, examples, blocks, files } = JSON.parse(stdout);
  assert.equal(event, "done");
  assert.equal(examples, 2);
  assert.deepEqual(
    blocks.map(({ block }: { block: string }) => block),
    ["all", "0.dense"],
  );
  for (const { eigenvalues, trace, traceError, parameters } of blocks) {
    assert.equal(parameters, 6);
    assert.ok(Math.abs(eigenvalues[0] - TOP) < 1e-3 * TOP, eigenvalues[0]);
    assert.ok(eigenvalues[1] < eigenvalues[0]);
    assert.ok(Math.abs(trace - TRACE) < 1e-4 * TRACE, trace);
    assert.equal(traceError, 0);
  }
  const kept = JSON.parse(readFileSync(join(out, "flatness.json"), "utf8"));
  assert.deepEqual(kept.blocks, blocks);
  assert.deepEqual(
    files,
    ["flatness.json", "slice.csv", "slice.svg", "slice.png"].map((name) => join(out, name)),
  );
  const lines = readFileSync(join(out, "slice.csv"), "utf8").trim().split("\n");
  assert.equal(lines[0], "first,second,loss");
  assert.equal(lines.length, 26);
  // The middle is the model itself.
  const [, , loss] = lines[13].split(",").map(Number);
  const expected = -(Math.log(sigmoid(1)) + Math.log(sigmoid(-2))) / 2;
  assert.ok(Math.abs(loss - expected) < 1e-5);
});

test("for a person: a table, and no word where no terminal shows the bar", async () => {
  const { code, stdout, stderr } = await run(
    ...["flatness", "--model", model, "--data", data, "--samples", "1"],
  );
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  assert.match(stdout, /Largest eigenvalues/);
  assert.match(stdout, /cross-entropy over 1 examples/);
  assert.ok(existsSync(join(model, "flatness.json")));
});

test("a missing model and data that do not fit end in one sentence, with nothing written", async () => {
  const out = join(folder, "nothing");
  const missing = await run(
    ...["flatness", "--model", join(folder, "absent"), "--data", data],
    ...["--out", out],
  );
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^fedflat: "--model" expected .*\n$/);
  const wide = join(folder, "wide.csv");
  writeFileSync(wide, "a,b,c,label\n3,1,2,no\n");
  const unfit = await run(...["flatness", "--model", model, "--data", wide, "--out", out]);
  assert.equal(unfit.code, 1);
  assert.match(unfit.stderr, /^fedflat: "wide.csv" columns expected 2 numbers .*, got 3\n$/);
  assert.equal(existsSync(out), false);
});
