import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  figuresOf,
  ROUND_FIGURES,
  type RoundFigure,
} from "../../../aggregator/monitoring/round-figures.js";
import { METRIC_NAMES } from "../../../runtime/models/metrics/built-in.js";

const rows = Object.entries<RoundFigure>(ROUND_FIGURES);

test("a figure is there where its source is, and only there", () => {
  assert.deepEqual(figuresOf({}), {});
  const rounds = {
    participants: ["a", "b"],
    samples: 7,
    lossBefore: 2,
    lossAfter: 1,
    activationNorms: [0.5, 0.25],
    learningRate: 0.1,
    staleness: 0,
    epsilon: 1.5,
  };
  assert.deepEqual(figuresOf({ rounds }), { ...rounds, participants: 2 });
  const timings = {
    seconds: 6,
    collectSeconds: 3,
    trainSeconds: 2,
    finishSeconds: 2,
    commitSeconds: 1,
    updateBytes: 80,
  };
  assert.deepEqual(figuresOf({ timings }), timings);
  const federated = { accuracy: 0.5, loss: 1.5 };
  const spread = { mean: 0.5, worstTenth: 0.25 };
  assert.deepEqual(figuresOf({ evaluations: { federated } }), {
    clientAccuracy: 0.5,
    clientLoss: 1.5,
  });
  const metrics = Object.fromEntries(METRIC_NAMES.map((name) => [name, 0.5]));
  const tested = { test: { accuracy: 0.75, loss: 1, metrics, topEigenvalue: 9 } };
  const evaluations = { federated: { ...federated, metrics, spread }, ...tested };
  const found = figuresOf({ rounds, timings, evaluations });
  assert.deepEqual(Object.keys(found).sort(), rows.map(([name]) => name).sort());
});

test("no two figures are one in TensorBoard or in /metrics", () => {
  const twice = (names: readonly string[]) => names.filter((name, i) => names.indexOf(name) !== i);
  assert.deepEqual(twice(rows.map(([, { scalar }]) => scalar)), []);
  const series = rows.flatMap(([, { series }]) =>
    series === undefined ? [] : [JSON.stringify([series.family.name, series.labels])],
  );
  assert.ok(series.length > 0);
  assert.deepEqual(twice(series), []);
});

test("the series of a family differ in one label, and are all of one kind", () => {
  const families = new Map<string, Set<string>>();
  for (const [, { series, unit }] of rows) {
    if (series === undefined) continue;
    const kinds = families.get(series.family.name) ?? new Set();
    families.set(
      series.family.name,
      kinds.add(JSON.stringify([unit, Object.keys(series.labels), series.family.help])),
    );
  }
  for (const [name, kinds] of families) assert.equal(kinds.size, 1, name);
});

test("docs/operations.md has a row for each figure, with its unit and its names", () => {
  const page = readFileSync(new URL("../../../../docs/operations.md", import.meta.url), "utf8");
  const cells = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const found = page
    .slice(page.indexOf("## Figures of a round"))
    .split(/\n## (?!Figures)/)[0]
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map(cells);
  const seriesOf = ({ series }: RoundFigure) => {
    if (series === undefined) return "";
    const labels = Object.entries(series.labels).map(([key, value]) => `{${key}="${value}"}`);
    return `\`${series.family.name}${labels.join("")}\``;
  };
  assert.deepEqual(
    found,
    rows.map(([name, figure]) => [
      `\`${name}\``,
      figure.help,
      figure.unit,
      `\`${figure.scalar}${name === "activationNorms" ? " 0" : ""}\``,
      seriesOf(figure),
    ]),
  );
});
