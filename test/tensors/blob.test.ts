import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelError } from "../../runtime/errors.js";
import { MODEL, readBlob, readState, writeBlob } from "../../runtime/tensors/blob.js";
import { layoutOf } from "../../runtime/tensors/layout.js";
import { copyOf } from "../../runtime/tensors/memory.js";

const layout = layoutOf([
  { name: "0.kernel", shape: [3, 2] },
  { name: "0.bias", shape: [2] },
]);
const numbers = [1e-300, 2 ** -32, 0.1, -0, 5, 6e20, 1 / 3, 2 ** 53 - 1];

test("a state of float64 vectors is read back to the bit, from where it lies", () => {
  const drift = Float64Array.from(numbers);
  const bytes = writeBlob(layout, { drift, control: new Float64Array(8) });
  const state = readState(bytes, layout, ["control", "drift"]);
  assert.deepEqual(state["drift"], drift);
  assert.equal(state["drift"].buffer, bytes.buffer);
  assert.deepEqual([...state["control"]], Array(8).fill(0));
});

test("a blob is written into the memory of one of the same form, from where its vectors lie too", () => {
  const [was, is] = [Float32Array.from(numbers), new Float32Array(8).fill(2)];
  const whole = (model: Float32Array, momentum: Float32Array) =>
    writeBlob(layout, { [MODEL]: model, momentum }, { a: "b" });
  const expected = whole(is, was);
  const given = copyOf(whole(was, was));
  const own = readBlob(given, layout, [MODEL])[MODEL];
  own.set(is);
  const vectors = { [MODEL]: own, momentum: was };
  const written = writeBlob(layout, vectors, { a: "b" }, given);
  assert.equal(written, given);
  assert.deepEqual(written, expected);
  assert.notEqual(writeBlob(layout, vectors, {}, given), given);
});

test("what is missing or of another kind is a ModelError that names it", () => {
  const wide = writeBlob(layout, { drift: new Float64Array(8) });
  const narrow = writeBlob(layout, { drift: new Float32Array(8) });
  for (const [read, message] of [
    [
      () => readState(wide, layout, ["control"]),
      /"control\/0.kernel" expected float64 \[3, 2\], got nothing/,
    ],
    [
      () => readState(narrow, layout, ["drift"]),
      /"drift\/0.kernel" expected float64 \[3, 2\], got Float32Array \[3, 2\]/,
    ],
    [
      () => readBlob(wide, layout, ["drift"]),
      /"drift\/0.kernel" expected float32 \[3, 2\], got Float64Array \[3, 2\]/,
    ],
  ] as const)
    assert.throws(read, (error) => error instanceof ModelError && message.test(error.message));
});

test("a number that is not finite is refused by tensor and place, whatever is read", () => {
  const at = (index: number, value: number) => numbers.map((x, i) => (i === index ? value : x));
  for (const [index, value, message] of [
    [5, NaN, '"drift/0.kernel" expected finite numbers, got NaN at [2, 1]'],
    [0, Infinity, '"drift/0.kernel" expected finite numbers, got Infinity at [0, 0]'],
    [7, -Infinity, '"drift/0.bias" expected finite numbers, got -Infinity at [1]'],
  ] as const) {
    const narrow = writeBlob(layout, { drift: Float32Array.from(at(index, value)) });
    const wide = writeBlob(layout, { drift: Float64Array.from(at(index, value)) });
    const error = { name: "ModelError", code: "not-finite", message };
    assert.throws(() => readBlob(narrow, layout, ["drift"]), error);
    assert.throws(() => readState(wide, layout, ["drift"]), error);
  }
});
