import assert from "node:assert/strict";
import { test } from "node:test";
import { clipped } from "../../../aggregator/aggregation/clip.js";
import { addToFold, emptyFold } from "../../../aggregator/aggregation/exact-sum.js";
import { random } from "../../../runtime/tensors/random.js";

const size = 1000;
const chance = random("clip");
const updates = Array.from({ length: 6 }, (_, i) =>
  Float32Array.from({ length: size }, () => 10 ** (i - 3) * chance.normal()),
);

const normOf = (x: Float32Array): number => Math.hypot(...x);

test("a vector above the norm has that norm, its direction kept; one below is as it was", () => {
  for (const delta of updates) {
    const norm = normOf(delta);
    const { delta: after } = clipped({ delta }, 1);
    if (norm <= 1) assert.equal(after, delta);
    else {
      assert.ok(Math.abs(normOf(after) - 1) < 1e-6);
      for (let i = 0; i < size; i++) assert.ok(Math.abs(after[i] - delta[i] / norm) <= 1e-7);
    }
  }
});

test("a fold of clipped updates has the same bits in any order", () => {
  const foldOf = (order: readonly number[]) => {
    const domain = { size, maxUpdates: 6, maxAbs: 8, maxWeight: { delta: 50 } };
    const fold = emptyFold(domain);
    for (const i of order) {
      const { delta: values } = clipped({ delta: updates[i] }, 1);
      addToFold(fold, `${i}`, "", { delta: { values, weight: 7 * i + 1 } });
    }
    return [...fold.sums["delta"]];
  };
  assert.deepEqual(foldOf([0, 1, 2, 3, 4, 5]), foldOf([5, 2, 0, 4, 1, 3]));
});
