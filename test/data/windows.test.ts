import assert from "node:assert/strict";
import { test } from "node:test";
import { readCharacters } from "../../runtime/data/characters.js";
import { readCsv } from "../../runtime/data/csv.js";
import { startOf, type Dataset } from "../../runtime/data/dataset.js";
import { matched } from "../../runtime/data/matching.js";
import { splitRows } from "../../runtime/data/split.js";
import { windowsOf } from "../../runtime/data/windows.js";
import { DataError } from "../../runtime/errors.js";
import { elements } from "../../runtime/tensors/shape.js";
import { holdOut } from "../../runtime/training/batches.js";

const series = (text: string) =>
  readCsv("series.csv", new TextEncoder().encode(text), { series: true });
/** Row t holds t and 100 + t; so many rows of each group. */
const counted = (...lengths: number[]) =>
  series(
    "a,b,group\n" +
      lengths
        .flatMap((length, group) =>
          Array.from({ length }, (_, t) => `${10 * group + t},${100 + 10 * group + t},${group}`),
        )
        .join("\n"),
  );
const inputOf = ({ inputs, shape, starts }: Dataset, row: number) => {
  const start = startOf(starts, row, elements(shape));
  return [...inputs.subarray(start, start + elements(shape))];
};
const targetOf = ({ targets }: Dataset, row: number) => {
  const start = startOf(targets!.starts, row, targets!.size);
  return [...targets!.values.subarray(start, start + targets!.size)];
};
const refused = (code: string) => (error: unknown) =>
  error instanceof DataError && error.code === code && !error.message.includes("\n");

test("windows with the row behind, one every stride, none over the end of a group", () => {
  const windows = windowsOf("series", counted(6, 4), { window: 3, stride: 2, target: "next" });
  assert.deepEqual(windows.shape, [3, 2]);
  const rows = [...windows.labels.keys()];
  assert.deepEqual(
    rows.map((row) => inputOf(windows, row).filter((_, i) => i % 2 === 0)),
    [
      [0, 1, 2],
      [2, 3, 4],
      [10, 11, 12],
    ],
  );
  assert.deepEqual(
    rows.map((row) => targetOf(windows, row)),
    [
      [3, 103],
      [5, 105],
      [13, 113],
    ],
  );
  assert.deepEqual([...windows.groups!], [0, 0, 1]);
});

test("the rows of a series are in memory once, whatever windows overlap", () => {
  const rows = counted(50);
  const windows = windowsOf("series", rows, { window: 10, stride: 1, target: "next" });
  assert.equal(windows.inputs, rows.inputs);
  assert.equal(windows.targets!.values, rows.inputs);
  assert.equal(windows.labels.length, 40);
});

test("columns of the row behind, by name and by place", () => {
  for (const columns of [["b"], ["1"]]) {
    const windows = windowsOf("series", counted(5), { window: 2, target: "next", columns });
    assert.deepEqual(targetOf(windows, 0), [102]);
    assert.deepEqual(targetOf(windows, 1), [104]);
  }
  assert.throws(
    () => windowsOf("s", counted(5), { window: 2, target: "next", columns: ["c"] }),
    refused("column"),
  );
});

test("the last row's label, and windows that are their own target", () => {
  const rows = series("a,label\n1,low\n2,low\n3,high\n4,low\n");
  const labelled = windowsOf("s", rows, { window: 2, stride: 1, target: "label" });
  assert.deepEqual(
    [...labelled.labels].map((label) => labelled.classes[label]),
    ["low", "high", "low"],
  );
  const own = windowsOf("s", series("a\n1\n2\n3\n"), { window: 2, stride: 1, target: "input" });
  assert.equal(own.targets, undefined);
  assert.deepEqual([...own.labels], [-1, -1]);
  assert.throws(() => windowsOf("s", counted(5), { window: 2, target: "label" }), refused("label"));
});

test("a window longer than every series, and an empty one, are refused in one sentence", () => {
  assert.throws(() => windowsOf("s", counted(5), { window: 6, target: "input" }), refused("count"));
  assert.throws(() => windowsOf("s", counted(5), { window: 5, target: "next" }), refused("count"));
  assert.throws(() => series("a,b\n"), refused("count"));
});

test("windows are held out by time: no window to train on reaches into what is held out", () => {
  for (const [window, stride] of [
    [4, 1],
    [8, 3],
    [5, 5],
  ]) {
    const windows = windowsOf("s", counted(9, 10, 10, 9), { window, stride, target: "next" });
    const long = windowsOf("s", counted(100), { window, stride, target: "next" });
    for (const dataset of [windows, long]) {
      const rows = Uint32Array.from(dataset.labels.keys());
      const { train, test } = holdOut({ dataset, rows }, 0.1, "seed");
      assert.ok(train.rows.length > 0);
      const { series, span } = dataset.windows!;
      for (const a of train.rows)
        for (const b of test.rows)
          if (series[a] === series[b])
            assert.ok(dataset.starts![a] + span <= dataset.starts![b], `${a} ${b}`);
    }
    const rows = Uint32Array.from(long.labels.keys());
    assert.ok(holdOut({ dataset: long, rows }, 0.1, "seed").test.rows.length > 0);
  }
});

test("windows are dealt in stretches: no row of the series goes to two clients", () => {
  const dataset = windowsOf("s", counted(100), { window: 8, stride: 2, target: "next" });
  const parts = splitRows(dataset, { kind: "iid" }, 4, "seed");
  const { span } = dataset.windows!;
  const places = parts.map(
    (rows) =>
      new Set(
        [...rows].flatMap((row) =>
          Array.from({ length: span }, (_, i) => dataset.starts![row] + i),
        ),
      ),
  );
  places.forEach((one, i) => {
    assert.ok(one.size > 0);
    for (const other of places.slice(i + 1)) assert.ok([...one].every((at) => !other.has(at)));
  });
});

test("characters: each position is compared with the next one, each text is a group", () => {
  const dataset = readCharacters(
    [
      { source: "a", text: "abcabé" },
      { source: "b", text: "cab" },
    ],
    { window: 2 },
  );
  assert.deepEqual(dataset.vocabulary, ["a", "b", "c", "é"]);
  const rows = [...dataset.labels.keys()];
  assert.deepEqual(
    rows.map((row) => [inputOf(dataset, row), targetOf(dataset, row)]),
    [
      [
        [0, 1],
        [1, 2],
      ],
      [
        [2, 0],
        [0, 1],
      ],
      [
        [2, 0],
        [0, 1],
      ],
    ],
  );
  assert.deepEqual([...dataset.groups!], [0, 0, 1]);
});

test("a text is counted by the model's vocabulary; an unknown character, a short text are refused", () => {
  const text = readCharacters([{ source: "a", text: "baab" }], { window: 3 });
  const target = { kind: "classes", size: 3 } as const;
  const model = { input: [3], classes: [], vocabulary: ["b", "x", "a"], target };
  const told = matched("a", text, model);
  assert.deepEqual(inputOf(told, 0), [0, 2, 2]);
  assert.deepEqual(targetOf(told, 0), [2, 2, 0]);
  assert.throws(() => matched("a", text, { ...model, vocabulary: ["b"] }), refused("vocabulary"));
  const { vocabulary: _, ...without } = model;
  assert.throws(() => matched("a", text, without), refused("vocabulary"));
  const options = { window: 3, vocabulary: ["a"] };
  assert.throws(
    () => readCharacters([{ source: "a", text: "aabaa" }], options),
    refused("vocabulary"),
  );
  assert.throws(() => readCharacters([{ source: "a", text: "aa" }], options), refused("count"));
});
