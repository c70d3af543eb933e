import assert from "node:assert/strict";
import { test } from "node:test";
import { spreadOf } from "../../../aggregator/run/spread.js";

test("the worst tenth is one client in ten, two in twenty, and never fewer than one", () => {
  const twenty = Array.from({ length: 20 }, (_, i) => ((7 * i) % 20) / 20);
  assert.equal(spreadOf(twenty)?.mean, 0.475);
  assert.equal(spreadOf(twenty)?.worstTenth, 0.025);
  assert.deepEqual(spreadOf([0.5, 1]), { mean: 0.75, worstTenth: 0.5 });
  assert.equal(spreadOf([]), undefined);
});

test("which clients are the worst depends on what is better", () => {
  assert.equal(spreadOf([3, 1, 2], "lower")?.worstTenth, 3);
  assert.equal(spreadOf([-3, 1, 2], "nearer to 0")?.worstTenth, -3);
});
