import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { runSettings } from "../../aggregator/settings.js";
import { metadataOf } from "../../cli/kinds.js";
import { random } from "../../runtime/tensors/random.js";
import { run } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-regression-"));
after(() => rmSync(folder, { recursive: true }));

/** Rows whose targets are linear in the inputs, but for a little noise. */
function table(rows: number, seed: string): { text: string; targets: number[][] } {
  const chance = random(seed, "regression test");
  const targets: number[][] = [];
  const lines = Array.from({ length: rows }, () => {
    const [a, b, noise] = [0, 1, 2].map(() => 2 * chance.next() - 1);
    const [warm, wet] = [20 + 5 * a - 2 * b + 0.1 * noise, 1000 + 300 * b + 50 * a];
    targets.push([warm, wet]);
    return [warm, a, wet, b].join(",");
  });
  return { text: ["warm,a,wet,b", ...lines, ""].join("\n"), targets };
}

const csv = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const train = csv("train.csv", table(400, "train").text);
const unseen = table(60, "test");
const test_ = csv("test.csv", unseen.text);
const runFolder = join(folder, "run");
const simulated = run(
  ...["simulate", "--data", train, "--test", test_, "--target", "warm,wet", "--run", runFolder],
  ...["--clients", "3", "--rounds", "4", "--zeta", "0", "--learning-rate", "0.1"],
);

test("a regression is trained from a CSV file, and judged by R2", async () => {
  const { code, stdout, stderr } = await simulated;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /round 4\/4: R2 0\.9\d\d, loss/);
  assert.match(stdout, /Done after 4 rounds: R2 0\.9/);
  assert.doesNotMatch(stdout, /accuracy/i);
  assert.doesNotMatch(readFileSync(join(runFolder, "summary.md"), "utf8"), /accuracy|entropy/i);
  const lines = readFileSync(join(runFolder, "evaluations.jsonl"), "utf8").trim().split("\n");
  const last = JSON.parse(lines.at(-1)!).test;
  assert.equal(last.accuracy, undefined);
  assert.equal(last.columns.r2.length, 2);
});

test("numbers are predicted in the target's units, and the metrics are those of the predictions", async () => {
  await simulated;
  const argv = ["predict", "--model", runFolder, "--data", test_];
  const { code, stdout, stderr } = await run(...argv, "--json");
  assert.equal(code, 0, stderr);
  const lines = stdout.trim().split("\n");
  const rows = lines.slice(0, -1).map((line) => JSON.parse(line));
  const { metrics } = JSON.parse(lines.at(-1)!);
  assert.equal(rows.length, 60);
  // The definitions, from the predictions as they were printed.
  const columns = [0, 1].map((column) => {
    const errors = rows.map(
      ({ prediction }, i) => prediction.values[column] - unseen.targets[i][column],
    );
    const truth = unseen.targets.map((row) => row[column]);
    const mean = truth.reduce((a, b) => a + b, 0) / 60;
    const squares = errors.reduce((sum, e) => sum + e * e, 0);
    return {
      r2: 1 - squares / truth.reduce((sum, t) => sum + (t - mean) ** 2, 0),
      mse: squares / 60,
      mae: errors.reduce((sum, e) => sum + Math.abs(e), 0) / 60,
      bias: errors.reduce((sum, e) => sum + e, 0) / 60,
    };
  });
  for (const name of ["r2", "mse", "mae", "bias"] as const) {
    const expected = (columns[0][name] + columns[1][name]) / 2;
    assert.ok(
      Math.abs(metrics[name] - expected) < 1e-3 * Math.max(1, Math.abs(expected)),
      `${name} ${metrics[name]} ${expected}`,
    );
  }
  const plain = await run(...argv);
  assert.equal(plain.stdout.split("\n")[0], "warm,predicted warm,wet,predicted wet");
  assert.match(plain.stderr, /^R2 0\.9\d\d, Mean squared error .* of 60 examples\n$/);
});

test("data to predict may lack their targets", async () => {
  await simulated;
  const bare = csv("bare.csv", "b,a\n0,0\n");
  const { code, stdout } = await run("predict", "--model", runFolder, "--data", bare);
  assert.equal(code, 0);
  assert.match(stdout, /^predicted warm,predicted wet\n(1[5-9]|2[0-5])[.\d]*,\d+[.\d]*\n$/);
});

test("targets that cannot be learned are refused in one sentence", async () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ["a,t\n1,warm\n", "t", /line 2, column "t" expected a number, got "warm"/],
    ["a,t\n1,NaN\n", "t", /line 2, column "t" expected a number, got "NaN"/],
    ["a,t\n1,1e39\n", "t", /line 2, column "t" expected a finite number/],
    ["a,t\n1,\n", "t", /line 2, column "t" expected a number, got ""/],
    ["a,t\n1,2\n", "u", /target column expected a name of its columns/],
    ["a,t\n1,2\n", "t,t", /target columns expected each once/],
    ["t\n1\n", "t", /expected/],
  ];
  for (const [text, target, expected] of cases) {
    const argv = ["simulate", "--data", csv("bad.csv", text), "--target", target, "--clients", "1"];
    const { code, stderr } = await run(...argv, "--run", join(folder, "never"));
    assert.notEqual(code, 0);
    assert.match(stderr, expected);
    assert.doesNotMatch(stderr, /\n\s+at /);
  }
  const shards = await run(
    ...["simulate", "--data", train, "--target", "warm,wet", "--split", "shards:2"],
  );
  assert.match(shards.stderr, /"split" expected iid or groups for data without classes/);
});

test("no clock decides a simulation: whoever is slow there, the machine is", async () => {
  await simulated;
  const config = JSON.parse(readFileSync(join(runFolder, "config.json"), "utf8"));
  const clocks = Object.keys(runSettings).filter(
    (key) =>
      metadataOf(runSettings[key as keyof typeof runSettings].wrapped).unit === "milliseconds",
  );
  assert.ok(clocks.includes("heartbeat") && clocks.includes("deadline"), clocks.join());
  // A rest and a farewell wait for nobody's work, and who is away is of a run that was resumed.
  for (const key of clocks.filter((key) => !["pause", "farewell", "absence"].includes(key)))
    assert.ok(config[key] >= 3_600_000, `${key} ${config[key]}`);
});
