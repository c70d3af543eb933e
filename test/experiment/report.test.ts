import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExperimentFile } from "../../cli/experiment/file.js";
import { cellsOf } from "../../cli/experiment/grid.js";
import { picturesOf, resultsCsv, resultsPage, roundsCsv } from "../../cli/experiment/report.js";
import { roundsTo, statisticOf, type RunResult } from "../../cli/experiment/result.js";

const file: ExperimentFile = {
  title: "Test",
  settings: { data: "d", rounds: 3 },
  grid: { algorithm: ["fedavg", "feddyn"], zeta: [0, 0.15], seed: [1, 2] },
  set: {},
  target: 30,
  published: [{ of: { algorithm: "fedavg", zeta: 0.15 }, accuracy: 52 }],
  source: "somebody 2024",
  remarks: ["This is smaller."],
};

const cells = cellsOf(file, "test.json");

/** With MAN fedavg gains 4 points and feddyn loses 1; the eigenvalue halves. */
const results = cells.map(({ settings }): RunResult => {
  const { algorithm, zeta, seed } = settings;
  const gain = zeta === 0 ? 0 : algorithm === "fedavg" ? 4 : -1;
  return {
    rounds: [1, 2, 3].map((round) => ({
      round,
      sel: round === 2 ? undefined : 10 * round + gain + seed,
      all: 20,
      model: 15,
      activationNorm: 2,
    })),
    flatness: {
      eigenvalues: [zeta === 0 ? 40 : 20],
      trace: 100,
      traceError: 5,
    },
    bytes: 2e6,
    cpuSeconds: 7,
    seconds: 4,
  };
});
const finished = cells.map((cell, i) => ({ cell, result: results[i] }));
const circumstances = {
  command: "fedflat experiment test.json",
  machine: "a machine",
  failed: [],
  cells: cells.length,
};

test("mean and sample standard deviation", () => {
  assert.equal(statisticOf([undefined]), undefined);
  assert.deepEqual(statisticOf([3]), { mean: 3, count: 1 });
  const { mean, deviation } = statisticOf([2, 4, 4, 4, 5, 5, 7, 9])!;
  assert.equal(mean, 5);
  assert.ok(Math.abs(deviation! - Math.sqrt(32 / 7)) < 1e-12);
});

test("rounds to a target are the first that reaches it", () => {
  assert.equal(roundsTo(30, results[0]), 3);
  assert.equal(roundsTo(11, results[0]), 1);
  assert.equal(roundsTo(99, results[0]), undefined);
});

test("one line of CSV for each run and for each of its rounds", () => {
  const lines = resultsCsv(finished, 30).trim().split("\n");
  assert.equal(lines.length, 9);
  assert.match(lines[0], /^algorithm,zeta,seed,sel,all,model,/);
  assert.match(lines[1], /^fedavg,0,1,31,20,15,,2,40,100,5,2000000,7,4,3,fed/);
  assert.equal(roundsCsv(finished).trim().split("\n").length, 1 + 8 * 3);
});

test("the page has mean and deviation, what MAN changes and where it does not help", () => {
  const page = resultsPage(file, finished, circumstances, [], "");
  assert.match(page, /\| fedavg \| 31\.50 ± 0\.71 \| 20\.00 ± 0\.00 \|/);
  assert.match(page, /\| fedavg \+ MAN \| 35\.50 ± 0\.71 .* \| 52\.00 \|/);
  assert.match(page, /rounds to 30 %/);
  assert.match(page, /\| fedavg \| 0\.15 \| \+4\.00 \| -20\.00 \| 0 \|/);
  assert.match(
    page,
    /With feddyn and zeta 0\.15 it does not raise the accuracy and does not lower the trace\./,
  );
  assert.match(page, /Published numbers: somebody 2024/);
  assert.match(page, /This is smaller\./);
  assert.doesNotMatch(page, /worst tenth %|NaN|undefined/);
});

test("an unfinished experiment has a page that says so", () => {
  const page = resultsPage(
    file,
    finished.slice(0, 3),
    { ...circumstances, failed: [{ cell: cells[7], reason: "no disk" }] },
    [],
    "",
  );
  assert.match(page, /3 of 8 runs, 4 not run yet, 1 failed/);
  assert.match(page, /feddyn_zeta-0.15_seed-2_.*no disk/);
});

test("pictures: accuracy for each condition, zeta only where it is varied", () => {
  assert.deepEqual(
    picturesOf("t", finished).map(({ name }) => name),
    ["accuracy"],
  );
  const wide: ExperimentFile = {
    ...file,
    grid: { zeta: [0, 0.1, 0.2], split: ["iid", "dirichlet:0.3"] },
  };
  const pictures = picturesOf(
    "t",
    cellsOf(wide, "x").map((cell) => ({ cell, result: results[0] })),
  );
  assert.deepEqual(
    pictures.map(({ name }) => name),
    [
      "accuracy-split-iid",
      "zeta-split-iid",
      "accuracy-split-dirichlet-0.3",
      "zeta-split-dirichlet-0.3",
    ],
  );
});
