import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dataset } from "../../runtime/data/dataset.js";
import { matched } from "../../runtime/data/matching.js";

const dataset = (changes: Partial<Dataset>): Dataset => ({
  shape: [2],
  inputs: Float32Array.of(1, 2, 3, 4, 5, 6),
  labels: Int32Array.of(0, 1, 2),
  classes: ["0", "1", "2"],
  ...changes,
});

const labels = (changes: Partial<Dataset>, classes: readonly string[]): number[] => [
  ...matched("data", dataset(changes), { input: [2], classes }).labels,
];

function refused(changes: Partial<Dataset>, classes: readonly string[], message: string): void {
  assert.throws(() => labels(changes, classes), { name: "DataError", code: "label", message });
}

test("names decide: a label becomes the model's number of its name", () => {
  const own = ["dog", "rabbit", "cat"];
  assert.deepEqual(labels({ classes: own }, ["cat", "dog", "rabbit"]), [1, 2, 0]);
  // A name that no label bears may be unknown to the model.
  const fewer = { classes: [...own, "hamster"] };
  assert.deepEqual(labels(fewer, ["cat", "dog", "rabbit"]), [1, 2, 0]);
  refused(
    { classes: ["dog", "rabbit", "hamster"] },
    ["cat", "dog", "rabbit"],
    '"data" label of example 2 expected one of the model\'s classes, "cat", "dog", "rabbit", got "hamster"',
  );
});

test("numbers count the model's classes, unless its names are numbers themselves", () => {
  assert.deepEqual(labels({}, ["cat", "dog", "rabbit"]), [0, 1, 2]);
  assert.deepEqual(labels({}, ["0", "1", "2", "3"]), [0, 1, 2]);
  refused(
    {},
    ["cat", "dog"],
    '"data" label of example 2 expected one of the model\'s classes, "cat", "dog", got "2"',
  );
  assert.deepEqual(labels({}, ["2", "1", "0"]), [2, 1, 0]);
  refused(
    {},
    ["1", "2", "3"],
    '"data" label of example 0 expected one of the model\'s classes, "1", "2", "3", got "0"',
  );
});

test("a model that only numbers its classes takes declared numbers, no alphabetical ones", () => {
  const classes = ["cat", "dog", "rabbit"];
  assert.deepEqual(labels({ classes }, ["0", "1", "2"]), [0, 1, 2]);
  refused(
    { classes, alphabetical: true },
    ["0", "1", "2"],
    '"data" label of example 0 expected a number of the model\'s 3 classes, which have no names, got "cat"',
  );
});

test("data without labels stay so, and equal data are not copied", () => {
  const none = { labels: Int32Array.of(-1, -1, -1), classes: ["b", "a"] };
  assert.deepEqual(labels(none, ["a", "b"]), [-1, -1, -1]);
  const same = dataset({ classes: ["a", "b", "c"], columns: ["x", "y"] });
  const model = { input: [2], classes: ["a", "b", "c"], columns: ["x", "y"] };
  assert.equal(matched("data", same, model), same);
});

test("columns are taken by name where both sides have names, else by place", () => {
  const inputs = (own: string[] | undefined, columns: string[] | undefined) => [
    ...matched("data", dataset({ columns: own }), { input: [2], classes: ["0", "1", "2"], columns })
      .inputs,
  ];
  const swapped = [2, 1, 4, 3, 6, 5];
  assert.deepEqual(inputs(["b", "a"], ["a", "b"]), swapped);
  assert.deepEqual(inputs(["a", "b"], ["a", "b"]), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(inputs(undefined, ["a", "b"]), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(inputs(["a", "b"], undefined), [1, 2, 3, 4, 5, 6]);
  const refusedColumns = (own: string[], columns: string[], got: string) =>
    assert.throws(() => inputs(own, columns), {
      name: "DataError",
      code: "columns",
      message: `"data" expected the columns ${columns.map((name) => JSON.stringify(name)).join(", ")}, got ${got}`,
    });
  refusedColumns(["b", "c"], ["a", "b"], 'none named "a"');
  refusedColumns(["a", "b", "c"], ["a", "b"], '"c" too');
  assert.throws(() => inputs(["a", "a", "b"], ["a", "b", "a"]), { code: "columns" });
});
