import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExperimentFile } from "../../cli/experiment/file.js";
import { cellsOf } from "../../cli/experiment/grid.js";
import {
  intoDocument,
  mainTable,
  picturesOf,
  resultsCsv,
  resultsPage,
  resultsTex,
  roundsCsv,
} from "../../cli/experiment/report.js";
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
  assert.match(lines[1], /^fedavg,0,1,31,20,15,,2,40,100,5,2000000,7,4,,,3,fed/);
  assert.equal(roundsCsv(finished).trim().split("\n").length, 1 + 8 * 3);
});

test("the page has mean and deviation, what MAN changes and where it does not help", () => {
  const page = resultsPage(file, finished, circumstances, [], "");
  assert.match(page, /\| fedavg \| 31\.50 ± 0\.71 \(n=2\) \| 20\.00 ± 0\.00 \(n=2\) \|/);
  assert.match(page, /\| fedavg \+ MAN \| 35\.50 ± 0\.71 \(n=2\) .* \| 52\.00 \|/);
  assert.match(page, /rounds to 30 %/);
  assert.match(
    page,
    /\| fedavg \| 0\.15 \| 0 \| \+4\.00 ± 0\.00 \(n=2\) \| -20\.00 ± 0\.00 \(n=2\) \| 0 ± 0 \(n=2\) \|/,
  );
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

/** fedavg's accuracies of seeds 1, 2 ... by zeta. */
function measured(byZeta: Readonly<Record<number, readonly number[]>>) {
  const zetas = Object.keys(byZeta).map(Number);
  const seeds = byZeta[zetas[0]].map((_, i) => i + 1);
  const grid: ExperimentFile = { ...file, grid: { zeta: zetas, seed: seeds } };
  return cellsOf(grid, "x").map((cell) => {
    const { zeta, seed } = cell.settings;
    const result = { ...results[0], rounds: [{ round: 1, sel: byZeta[zeta][seed - 1] }] };
    return { cell, result };
  });
}

test("runs of the same seed are compared in pairs: mean difference, deviation, n and p for each two zetas", () => {
  const five = measured({
    0: [80.4547, 80.4547, 80.047506, 80.997625, 81.031558],
    0.15: [82.762131, 84.085511, 82.999661, 83.542586, 84.32304],
    0.6: [85.816084, 84.119444, 84.017645, 84.7981, 86.359009],
  });
  const page = resultsPage(file, five, circumstances, [], "");
  // Python's statistics.stdev, scipy 1.17.1's scipy.stats.ttest_rel
  assert.match(page, /\| fedavg \| 0\.15 \| 0 \| \+2\.95 ± 0\.54 \(n=5\) \| 0\.0003 \|/);
  assert.match(page, /\| fedavg \| 0\.6 \| 0 \| \+4\.42 ± 0\.85 \(n=5\) \| 0\.0003 \|/);
  assert.match(page, /\| fedavg \| 0\.6 \| 0\.15 \| \+1\.48 ± 1\.13 \(n=5\) \| 0\.0433 \|/);
  // A seed that is finished with one zeta only is in no pair.
  const unfinished = resultsPage(file, five.slice(0, 8), circumstances, [], "");
  assert.match(unfinished, /\| fedavg \| 0\.15 \| 0 \| \+2\.96 ± 0\.66 \(n=3\) \|/);
});

test("every ± on the page and in LaTeX has its n", () => {
  for (const text of [
    resultsPage(file, finished, circumstances, [], ""),
    resultsTex(file, finished),
  ]) {
    const signs = text.match(/(±|\$\\pm\$) [\d.]+/g)!;
    assert.ok(signs.length > 8);
    assert.equal(text.match(/(±|\$\\pm\$) [\d.]+ \(n=\d+\)/g)!.length, signs.length);
  }
});

test("the tables in LaTeX are whole, and their text is escaped", () => {
  const text = resultsTex(
    { ...file, target: 30 },
    finished.map((one) => ({ ...one, cell: { ...one.cell, algorithm: "my_own & more" } })),
  );
  assert.match(text, /my\\_own \\& more/);
  assert.match(text, /sel \\%/);
  const tables = text.split("\\begin{tabular}").slice(1);
  assert.equal(tables.length, 2);
  for (const table of tables) {
    const [, columns] = /^\{(l?r*)\}/.exec(table)!;
    for (const line of table.split("\n").filter((line) => line.endsWith("\\\\")))
      assert.equal(line.split(/(?<!\\)&/).length, columns.length, line);
  }
});

test("an algorithm of one's own is called by its file, with the folder only where two have that name", () => {
  const own = (...algorithm: string[]) => cellsOf({ ...file, grid: { algorithm, seed: [1] } }, "x");
  const [one, two] = own("/home/me/mine.js", "fedavg");
  assert.deepEqual([one.algorithm, one.at["algorithm"], two.algorithm], ["mine", "mine", "fedavg"]);
  assert.match(one.name, /^mine_seed-1_/);
  assert.equal(one.settings.algorithm, "/home/me/mine.js");
  const same = own("/a/mine.js", "/b/mine.js");
  assert.deepEqual(
    same.map(({ algorithm }) => algorithm),
    ["/a/mine.js", "/b/mine.js"],
  );
});

test("rules stand beside each other for each attack, by the accuracy of the model", () => {
  const file: ExperimentFile = {
    title: "Rules",
    settings: { data: "d", rounds: 3, zeta: 0, clients: 9, attackers: 1 },
    grid: { attack: ["none", "huge"], aggregate: ["mean", "median"], seed: [1, 2] },
    set: {},
    published: [],
    remarks: [],
  };
  const cells = cellsOf(file, "rules.json");
  const finished = cells.map((cell) => {
    const { attack, aggregate, seed } = cell.settings;
    const model = attack === "huge" && aggregate === "mean" ? 10 : 80 + seed;
    const rounds = [{ round: 3, sel: 99, all: 99, model }];
    return { cell, result: { ...results[0], rounds } };
  });
  const page = resultsPage(file, finished, circumstances, [], "");
  assert.match(
    page,
    /\| rule \| attack none \| attack huge \|\n.*\n\| mean \| 81.5 ± 0.7 \(n=2\) \| 10.0/,
  );
  assert.match(page, /\| median \| 81.5 .* \| 81.5 .* \|/);
  // Means of what clients have trained say nothing of the rule.
  assert.doesNotMatch(page, /99/);
  const [picture] = picturesOf("Rules", finished);
  assert.match(picture.svg, /test accuracy, model/);
  assert.match(picture.svg, /median/);
});

/** FedAvg as it is and in bytes, with two of the four combinations that the grid has. */
const inCodecs: ExperimentFile = {
  title: "Codecs",
  settings: { data: "d", rounds: 3, zeta: 0 },
  grid: { codec: ["float32", "int8"], "model-codec": ["float32", "float16"], seed: [1, 2] },
  only: [
    { codec: "float32", "model-codec": "float32" },
    { codec: "int8", "model-codec": "float16" },
  ],
  set: {},
  published: [],
  remarks: [],
};
const sent = cellsOf(inCodecs, "codecs.json").map((cell) => {
  const { codec, seed } = cell.settings;
  const size = codec === "float32" ? { up: 4e4, down: 4e4 } : { up: 1e4, down: 2e4 };
  const rounds = [1, 2, 3].map((round) => ({ round, model: 70 + seed }));
  const bytes = { bytes: 30 * (size.up + size.down), updateBytes: size.up, modelBytes: size.down };
  return { cell, result: { ...results[0], ...bytes, rounds } };
});

test("codecs stand beside each other by bytes, share of float32, accuracy and time on a slow line", () => {
  assert.equal(
    mainTable(inCodecs, sent),
    [
      "| algorithm | codec | models | KB up | of float32 | KB down | up and down, of float32 | accuracy % | seconds at 256 kbit/s |",
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
      "| fedavg | float32 | float32 | 40.0 | 1.0 | 40.0 | 1.0 | 71.50 ± 0.71 (n=2) | 2.5 |",
      "| fedavg | int8 | float16 | 10.0 | 0.25 | 20.0 | 0.38 | 71.50 ± 0.71 (n=2) | 0.9 |",
    ].join("\n"),
  );
  const [picture] = picturesOf("Codecs", sent);
  assert.equal(picture.name, "bytes");
  assert.match(picture.svg, /over the line \(MB\)/);
});

test("a table goes into the place that a document has for it, and again", () => {
  const before = "# Page\n\n<!-- table codecs -->\n<!-- end -->\n\nText.\n";
  const after = "# Page\n\n<!-- table codecs -->\n\n| a |\n\n<!-- end -->\n\nText.\n";
  const once = intoDocument(before, "codecs", "| a |");
  assert.equal(once, after);
  assert.equal(intoDocument(after, "codecs", "| a |"), after);
  assert.equal(intoDocument(before, "others", "| a |"), undefined);
});
