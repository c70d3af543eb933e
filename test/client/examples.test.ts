import assert from "node:assert/strict";
import { test } from "node:test";
import { examplesOf, flat, partFor } from "../../runtime/client/examples.js";
import type { ClientData, Inputs } from "../../runtime/client/options.js";
import type { Dataset } from "../../runtime/data/dataset.js";

const model = { input: [2], classes: ["cat", "dog", "rabbit"] };

const labels = (data: unknown) => [...partFor(data as ClientData, model).dataset.labels];

function refused(data: unknown, message: string | RegExp): void {
  assert.throws(() => partFor(data as ClientData, model), { name: "DataError", message });
}

test("every typed array of numbers is numbers, bytes stay bytes", () => {
  for (const Kind of [Float64Array, Int8Array, Int16Array, Uint16Array, Int32Array, Uint32Array]) {
    const got = flat(Kind.of(1, 2, 100));
    assert.ok(got instanceof Float32Array, Kind.name);
    assert.deepEqual([...got], [1, 2, 100], Kind.name);
  }
  assert.deepEqual([...flat(BigInt64Array.of(-3n, 4n))], [-3, 4]);
  const floats = Float32Array.of(0.5);
  assert.equal(flat(floats), floats);
  const clamped = new Uint8ClampedArray([0, 128, 255, 7]).subarray(1, 3);
  const bytes = flat(clamped);
  assert.ok(bytes instanceof Uint8Array);
  assert.deepEqual([...bytes], [128, 255]);
  assert.deepEqual([...flat([Float64Array.of(1, 2), Float64Array.of(3, 4)])], [1, 2, 3, 4]);
});

test("a Buffer is refused, since its bytes may be those of other numbers", () => {
  const message = /^"x" expected an array that says what its numbers are, got a Buffer \(new Uint8/;
  const buffer = Buffer.from(Float32Array.of(1, 2).buffer);
  for (const x of [buffer, [buffer]])
    assert.throws(() => flat(x as unknown as Inputs), { name: "DataError", code: "type", message });
});

test("labels are the model's names, or their numbers", () => {
  const x = Float32Array.of(1, 2, 3, 4, 5, 6);
  assert.deepEqual(labels({ x, y: ["rabbit", "cat", "dog"] }), [2, 0, 1]);
  assert.deepEqual(labels({ x, y: Uint8Array.of(2, 0, 1) }), [2, 0, 1]);
  assert.deepEqual(labels({ x, y: BigInt64Array.of(2n, 0n, 1n) }), [2, 0, 1]);
  refused(
    { x, y: ["rabbit", "cat", "hamster"] },
    '"data" label of example 2 expected one of the class names "cat", "dog", "rabbit", got "hamster"',
  );
  refused(
    { x, y: ["rabbit", 1, "dog"] },
    '"data" label of example 1 expected a name, as others are, got 1',
  );
  refused({ x, y: [0, 1, 3] }, /label of example 2 expected an integer from 0 to 2, got 3$/);
});

test("what is no data is one sentence that says what it is instead", () => {
  const expected =
    '"data" expected { x, y } with a label for each example, or a part of a data set';
  refused(undefined, `${expected}, got undefined`);
  refused(null, `${expected}, got null`);
  refused([], `${expected}, got a list`);
  refused({ x: [1, 2] }, `${expected}, got an object with x`);
  refused({ y: [1] }, `${expected}, got an object with y`);
  refused({ x: undefined, y: [1] }, '"x" expected numbers in a list, got undefined');
  refused({ x: [[1, "a"]], y: [1] }, '"x" expected numbers, got a');
  refused(
    { x: Float32Array.of(1, 2, 3), y: [0, 1] },
    '"data" inputs expected 4 numbers (2 labels, examples of 2), got 3',
  );
  refused(
    { x: Float32Array.of(1, NaN, 3, 4), y: [0, 1] },
    '"data" inputs, example 0 at [1] expected finite numbers, got NaN',
  );
});

test("a part of a data set is matched by name, and stays the same part otherwise", () => {
  const dataset: Dataset = {
    shape: [2],
    inputs: Float32Array.of(1, 2, 3, 4),
    labels: Int32Array.of(0, 1),
    classes: ["dog", "rabbit"],
    columns: ["b", "a"],
  };
  const rows = Uint32Array.of(1, 0);
  const part = partFor({ dataset, rows }, { ...model, columns: ["a", "b"] });
  assert.deepEqual([...part.dataset.labels], [1, 2]);
  assert.deepEqual([...part.dataset.inputs], [2, 1, 4, 3]);
  assert.equal(part.rows, rows);
  const fits = { dataset: { ...dataset, classes: model.classes }, rows };
  assert.equal(partFor(fits, model), fits);
  refused({ dataset, rows: Uint32Array.of(2) }, '"row" expected below 2, got 2');
});

test("examples are matched again for a model that differs in anything it says of data", () => {
  const dataset: Dataset = {
    shape: [2],
    inputs: Uint8Array.of(0, 1, 1, 2),
    labels: Int32Array.of(0, 1),
    classes: ["cat", "dog"],
    vocabulary: ["x", "y", "z"],
  };
  const { check } = examplesOf({ dataset, rows: Uint32Array.of(0, 1) }, 0, "seed");
  const inputs = (vocabulary: string[]) => [...check!({ ...model, vocabulary }).dataset.inputs];
  assert.deepEqual(inputs(["x", "y", "z"]), [0, 1, 1, 2]);
  assert.deepEqual(inputs(["z", "y", "x"]), [2, 1, 1, 0]);
  const first = check!({ ...model, vocabulary: ["x", "y", "z"] });
  assert.equal(check!({ ...model, vocabulary: ["x", "y", "z"] }), first);
});

test("how many examples there are to train on is known before the split, and is what it gives", async () => {
  const count = 40;
  const scattered: Dataset = {
    shape: [2],
    inputs: new Float32Array(200 * 2),
    labels: new Int32Array(200),
    classes: model.classes,
  };
  const windows: Dataset = {
    ...scattered,
    starts: Uint32Array.from({ length: 200 }, (_, i) => 2 * i),
    windows: { span: 12, series: new Uint32Array(200) },
  };
  const rows = Uint32Array.from({ length: count }, (_, i) => 5 * i);
  const request = { assignment: "", round: 1, task: "train", ...model };
  for (const data of [
    { dataset: scattered, rows },
    { dataset: windows, rows },
    { x: new Float32Array(2 * count), y: new Uint8Array(count) },
  ]) {
    const examples = examplesOf(data, 0.2, "seed");
    const before = examples.training;
    const { train } = await examples.split(request);
    assert.equal(before, train.rows.length);
  }
});

test("examples that never change can be checked before there is work, others cannot", async () => {
  const data = { x: Float32Array.of(1, 2, 3, 4), y: ["dog", "cat"] };
  const fixed = examplesOf(data, 0, "seed");
  assert.equal(fixed.training, 2);
  assert.deepEqual([...fixed.check!(model).dataset.labels], [1, 0]);
  const fresh = examplesOf(() => undefined as unknown as ClientData, 0, "seed");
  assert.equal(fresh.check, undefined);
  const request = { assignment: "", round: 1, task: "train", ...model };
  await assert.rejects(fresh.split(request), { name: "DataError", message: /got undefined$/ });
  assert.equal(examplesOf(undefined as unknown as ClientData, 0, "seed").training, null);
});
