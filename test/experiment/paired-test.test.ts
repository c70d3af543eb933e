import assert from "node:assert/strict";
import { test } from "node:test";
import { pairedTest, twoSided } from "../../cli/experiment/paired-test.js";

// scipy 1.17.1: 2 * scipy.stats.t.sf(abs(t), freedom).
const SCIPY: readonly (readonly [t: number, freedom: number, p: number])[] = [
  [0.5, 1, 0.7048327646991335],
  [12.706, 1, 0.05000080235813319],
  [1, 2, 0.4226497308103742],
  [4.303, 2, 0.0499925249852145],
  [2.5, 3, 0.08770664700806556],
  [2.776, 4, 0.05002277831997642],
  [-8.1, 4, 0.0012627641151895972],
  [3.2, 5, 0.023995176803300478],
  [0.1, 9, 0.9225364479566812],
  [5, 19, 7.949974998417639e-5],
  [40, 30, 1.3726045194406417e-27],
];

test("both tails of Student's t are scipy's", () => {
  for (const [t, freedom, p] of SCIPY)
    assert.ok(Math.abs(twoSided(t, freedom) - p) < 1e-14, `t ${t}, ${freedom}`);
  assert.equal(twoSided(0, 7), 1);
});

test("a paired test is scipy's ttest_rel", () => {
  const before = [80.4547, 80.4547, 80.047506, 80.997625, 81.031558];
  const after = [82.762131, 84.085511, 82.999661, 83.542586, 84.32304];
  const { mean, count, p } = pairedTest(after.map((value, i) => value - before[i]))!;
  // scipy 1.17.1: scipy.stats.ttest_rel(after, before).pvalue
  assert.ok(Math.abs(p! - 0.00025533337030988286) < 1e-12);
  assert.equal(count, 5);
  assert.ok(Math.abs(mean - 2.945368) < 1e-6);
});

test("no pair, one pair, and pairs that all differ by the same have no p-value", () => {
  assert.equal(pairedTest([]), undefined);
  assert.deepEqual(pairedTest([3]), { mean: 3, count: 1 });
  assert.deepEqual(pairedTest([2, 2]), { mean: 2, count: 2, deviation: 0 });
});
