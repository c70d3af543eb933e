import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readCsv, type CsvOptions } from "../../runtime/data/csv.js";
import { DataError } from "../../runtime/errors.js";

function read(text: string, options?: CsvOptions) {
  const data = readCsv("d.csv", new TextEncoder().encode(text), options);
  return {
    inputs: [...data.inputs],
    labels: [...data.labels],
    classes: data.classes,
    groups: data.groups && [...data.groups],
    shape: data.shape,
  };
}

test("a header names the label and the group", () => {
  assert.deepEqual(read("subject,a,b,label\n3,1,2.5,0\n\n9,-1e3,4,2\n"), {
    inputs: [1, 2.5, -1000, 4],
    labels: [0, 2],
    classes: ["0", "1", "2"],
    groups: [3, 9],
    shape: [2],
  });
});

test("without a header the last column is the label", () => {
  assert.deepEqual(read("1,2,1\r\n3,4,0\r\n"), {
    inputs: [1, 2, 3, 4],
    labels: [1, 0],
    classes: ["0", "1"],
    groups: undefined,
    shape: [2],
  });
});

test("columns are named or counted, from either end", () => {
  const text = "kind,a,b,who\nx,1,2,ann\ny,3,4,bob\n";
  const expected = {
    inputs: [1, 2, 3, 4],
    labels: [0, 1],
    classes: ["x", "y"],
    groups: [0, 1],
    shape: [2],
  };
  assert.deepEqual(read(text, { label: "kind", group: "who" }), expected);
  assert.deepEqual(read(text, { label: 0, group: -1 }), expected);
  assert.deepEqual(read(text, { label: "0", group: "3" }), expected);
});

test("text labels are numbered in sorted order, or by the class names given", () => {
  const text = "a,label\n1,walk\n2,sit\n3,walk\n";
  assert.deepEqual(read(text).labels, [1, 0, 1]);
  assert.deepEqual(read(text).classes, ["sit", "walk"]);
  const classes = ["run", "walk", "sit"];
  assert.deepEqual(read(text, { classes }).labels, [1, 2, 1]);
  assert.deepEqual(read("a,label\n1,2\n", { classes }).labels, [2]);
  assert.throws(() => read(text, { classes: ["run", "walk"] }), {
    name: "DataError",
    code: "label",
    message: '"d.csv" label of example 1 expected one of the class names run, walk, got "sit"',
  });
});

test("quotes hold delimiters, line breaks and quotes; semicolons and tabs part fields too", () => {
  assert.deepEqual(read('a,label\n1,"x, ""big"""\n"2","two\nlines"\n').classes, [
    "two\nlines",
    'x, "big"',
  ]);
  assert.deepEqual(read("a;b;y\n1;2;0\n").inputs, [1, 2]);
  assert.deepEqual(read("a\tb\ty\n1\t2\t0\n").inputs, [1, 2]);
});

test("a shape makes images of rows", () => {
  assert.deepEqual(read("label,a,b,c,d\n0,1,2,3,4\n", { shape: [2, 2, 1] }).shape, [2, 2, 1]);
});

test("what is wrong is said with line and column", () => {
  const refuse = (text: string, message: string, options?: CsvOptions) =>
    assert.throws(() => read(text, options), { name: "DataError", message });
  refuse("", '"d.csv" lines expected at least one, got none');
  refuse(
    "a,b\n1,2\n",
    '"d.csv" label column expected one named label, class, target, y, or the name of another, got columns a, b',
  );
  refuse("a,label\n1,0\n2\n", '"d.csv" line 3 expected 2 fields, got 1');
  refuse("a,label\n1,0\nabc,0\n", '"d.csv" line 3, column "a" expected a number, got "abc"');
  refuse("a,label\n,0\n", '"d.csv" line 2, column "a" expected a number, got ""');
  refuse(
    "a,label\nInfinity,0\n",
    '"d.csv" inputs, example 0 expected finite numbers, got Infinity',
  );
  refuse(
    "a,label\n1,-1\n",
    '"d.csv" label of example 0 expected an integer from 0 to 9999, got -1',
  );
  refuse('a,label\n1,"open\n', '"d.csv" line 2 expected a closing quote, got the end of the file');
  refuse("a,label\n", '"d.csv" examples expected at least one, got none');
  refuse(
    "a,label\n1,0\n",
    '"d.csv" label column expected a name of its columns (a, label) or an index below 2, got "kind"',
    { label: "kind" },
  );
  refuse("a,label\n1,0\n", '"d.csv" columns expected 2x2 numbers beside label and group, got 1', {
    shape: [2, 2],
  });
});

test("any text either reads or is refused by a DataError", () => {
  const cell = fc.oneof(
    fc.constantFrom("1", "-2.5", "label", "a", '"', '""', "", " ", "1e999"),
    fc.string({ maxLength: 4 }),
  );
  const text = fc
    .array(fc.array(cell, { maxLength: 4 }).map((row) => row.join(",")))
    .map((rows) => rows.join("\n"));
  fc.assert(
    fc.property(text, (csv) => {
      try {
        read(csv);
      } catch (error) {
        assert.ok(error instanceof DataError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
