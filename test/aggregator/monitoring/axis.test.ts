import assert from "node:assert/strict";
import { test } from "node:test";
import { axisOf, labelsOf, STEPS } from "../../../aggregator/monitoring/dashboard/browser/axis.js";

test("an axis of accuracies ends at 100 %, however near the values come", () => {
  for (const [from, to] of [
    [0.8, 0.99],
    [0, 1],
    [1, 1],
  ]) {
    const [low, high] = axisOf({ most: 1 }, from, to);
    assert.equal(high, 1);
    assert.ok(low >= 0 && low <= from && low < high, `${low}`);
  }
  assert.deepEqual(axisOf({ most: 1 }, 0.25, 0.75), [0.21, 0.79]);
});

test("an axis has room around its values, and is never empty", () => {
  assert.deepEqual(axisOf({}, 2, 4), [1.84, 4.16]);
  assert.deepEqual(axisOf({}, 0, 0), [0, 1]);
  assert.deepEqual(axisOf({}, -2, -2), [-2.2, -1.8]);
  assert.deepEqual(axisOf({ fromZero: true }, 5, 50), [0, 54]);
  assert.deepEqual(axisOf({ fromZero: true }, 0, 0), [0, 1]);
});

test("no two marks of an axis bear the same label", () => {
  const long = (value: number) => `${(100 * value).toFixed(1)} %`;
  const short = (value: number) => `${Math.round(100 * value)} %`;
  assert.deepEqual(labelsOf([0.8, 0.9, 1], long, short), ["80 %", "90 %", "100 %"]);
  assert.deepEqual(labelsOf([0.965, 0.97, 0.975], long, short), ["96.5 %", "97.0 %", "97.5 %"]);
  assert.deepEqual(labelsOf([1, 2], String), ["1", "2"]);
});

test("an axis goes in steps of one digit", () => {
  for (const step of STEPS) assert.match(step.toExponential(), /^[125]e/);
  assert.deepEqual(
    STEPS,
    STEPS.toSorted((a, b) => a - b),
  );
});
