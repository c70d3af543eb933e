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
    message:
      '"d.csv" line 3, column "label" expected one of the class names "run", "walk", got "sit"',
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
    '"d.csv" label column expected one named label, class, target, y, or the name of another (--label), or of numbers to learn (--target), got columns a, b',
  );
  refuse("a,label\n1,0\n2\n", '"d.csv" line 3 expected 2 fields, got 1');
  refuse("a,label\n1,0\nabc,0\n", '"d.csv" line 3, column "a" expected a number, got "abc"');
  refuse("a,label\n,0\n", '"d.csv" line 2, column "a" expected a number, got ""');
  refuse(
    "a,label\nInfinity,0\n",
    '"d.csv" line 2, column "a" expected a finite number, got "Infinity"',
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

test("the label's column is the one whose name says so, before the y of an axis", () => {
  const acceleration = "timestamp,x,y,z,label\n0,3.7,-0.2,0.1,0\n1,0,3.2,-0.4,2\n";
  assert.deepEqual(read(acceleration).labels, [0, 2]);
  assert.deepEqual(read(acceleration).classes, ["0", "1", "2"]);
  assert.deepEqual(read("y,target\n1,0\n2,1\n").inputs, [1, 2]);
  assert.deepEqual(read("x,Y\n1,0\n2,1\n").labels, [0, 1]);
  assert.throws(() => read("x,y,z\n1,0,2\n"), {
    message:
      '"d.csv" label column expected one named label, class, target, or the name of another (--label), or of numbers to learn (--target), got columns x, y, z',
  });
  assert.throws(() => read("a,Label,class\n1,0,2\n"), {
    message:
      '"d.csv" label column expected one that could be meant, or its name (--label), got Label and class',
  });
  assert.deepEqual(read("a,label,class\n1,0,2\n", { label: "class" }).labels, [2]);
});

test("a label that is no class is refused by line and column; it renumbers nothing", () => {
  const refuse = (text: string, message: string, options?: CsvOptions) =>
    assert.throws(() => read(text, options), { name: "DataError", code: "label", message });
  refuse(
    "a,label\n1,0\n2,\n3,11\n",
    '"d.csv" line 3, column "label" expected a class, by number or name, got nothing',
  );
  refuse(
    "a,label\n1,0\n2,l\n3,11\n",
    '"d.csv" line 3, column "label" expected a number like most labels (classes.txt can name classes of both kinds), got "l"',
  );
  refuse(
    "a,label\n1,walk\n2,7\n3,sit\n",
    '"d.csv" line 3, column "label" expected a name like most labels (classes.txt can name classes of both kinds), got "7"',
  );
  refuse(
    "a,y\n1,2\n2,3.701\n",
    '"d.csv" line 3, column "y" expected a class, which is a whole number or a name and no measurement (--target COLUMN learns measurements, --label COLUMN has classes elsewhere), got "3.701"',
  );
  // Where names are numbers, a number is a name.
  const classes = ["1", "2", "3"];
  assert.deepEqual(read("a,label\n1,3\n2,1\n", { classes }).labels, [2, 0]);
  refuse(
    "a,label\n1,3\n2,0\n",
    '"d.csv" line 3, column "label" expected one of the class names "1", "2", "3", got "0"',
    { classes },
  );
  assert.deepEqual(read("a,label\n1,7\n2,x\n", { classes: ["x", "7"] }).labels, [1, 0]);
  // pandas writes whole numbers with a point where some were missing.
  assert.deepEqual(read("a,label\n1,10.0\n2,2.0\n").labels, [10, 2]);
});

test("a column of labels that are still to be predicted may be empty, all of it", () => {
  assert.deepEqual(read("a,label,b\n1,,2\n3,,4\n", { unlabelled: true }).labels, [-1, -1]);
  assert.throws(() => read("a,label,b\n1,,2\n3,1,4\n", { unlabelled: true }), {
    message: /^"d.csv" line 2, column "label" expected a class/,
  });
});

test("a delimiter at the end of each line is no column", () => {
  const { inputs, labels, classes } = read("0.5,0.25,0,\n1.5,1.25,1,\n");
  assert.deepEqual(
    [inputs, labels, classes],
    [
      [0.5, 0.25, 1.5, 1.25],
      [0, 1],
      ["0", "1"],
    ],
  );
  assert.deepEqual(read("a,label,\n1,0,\n").labels, [0]);
  assert.throws(() => read("1,2,\n3,4,1\n"), {
    message: '"d.csv" line 2 expected nothing behind the last ",", as in the first line, got "1"',
  });
});

test("a header of numbers is a header where it names the label, and never an example", () => {
  const { inputs, labels } = read("0,1,2,label\n0.1,0.2,0.3,0\n1.1,1.2,1.3,11\n");
  assert.equal(inputs.length, 6);
  assert.deepEqual(labels, [0, 11]);
  assert.deepEqual(read("400,410,kind\n1,2,0\n", { label: "kind" }).labels, [0]);
  const either = /line 1 expected names of columns, or an example, got .* which could be either/;
  assert.throws(() => read("0,1,2,activity\n0.1,0.2,0.3,walk\n"), either);
  assert.throws(() => read("0,1,2,3\n0.1,0.2,0.3,1\n"), either);
  assert.throws(() => read("0,1,activity\n1,2,0\n3,4,1\n", { header: false }), {
    message: /line 1, column "2" expected a number like most labels .*, got "activity"/,
  });
  assert.throws(() => read(",a,label\n0,1,0\n"), {
    message: /line 1 expected a name for every column, got none for column 1 /,
  });
});

test("UTF-16 is read by its mark, and text of no known encoding is refused", () => {
  const text = "a\tlabel\r\n1\t0\r\n3\t1\r\n";
  const little = Buffer.from(`\ufeff${text}`, "utf16le");
  const labels = (bytes: Uint8Array) => [...readCsv("d.csv", bytes).labels];
  assert.deepEqual(labels(little), [0, 1]);
  assert.deepEqual(labels(Buffer.from(little).swap16()), [0, 1]);
  assert.deepEqual(labels(Buffer.from(`\ufeff${text}`, "utf8")), [0, 1]);
  const refused = (bytes: Uint8Array, got: string) =>
    assert.throws(() => labels(bytes), {
      code: "encoding",
      message: `"d.csv" text expected UTF-8 (save it as such), got ${got}`,
    });
  refused(little.subarray(2), "UTF-16 or no text");
  refused(Buffer.from("a,label\n1,caf\xe9\n", "latin1"), "other bytes");
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
