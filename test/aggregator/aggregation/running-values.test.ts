import assert from "node:assert/strict";
import { test } from "node:test";
import {
  openRunningMean,
  refusalOfValues,
} from "../../../aggregator/aggregation/running-values.js";
import { layoutOf } from "../../../runtime/tensors/layout.js";

const layout = layoutOf([
  { name: "1.mean", shape: [2] },
  { name: "1.variance", shape: [2] },
]);
const LIMITS = { round: 1, attempt: 1, updates: 8, samples: 1000, staleness: 0 };
const OLD = Float32Array.of(5, 5, 5, 5);

const close = (actual: ArrayLike<number>, expected: readonly number[]) =>
  expected.forEach((value, i) => assert.ok(Math.abs(actual[i] - value) < 1e-6, `${actual[i]}`));

test("running values are the clients' mean, weighted by their samples", () => {
  const mean = openRunningMean(layout, 1024, LIMITS);
  const about = { sha256: "x", staleness: 0 };
  mean.add({ ...about, client: "a", samples: 100 }, Float32Array.of(1, -2, 3, 0));
  mean.add({ ...about, client: "b", samples: 300 }, Float32Array.of(5, 2, 1, 0.5));
  close(mean.result(OLD), [4, 1, 1.5, 0.375]);
});

test("the order in which they arrive changes no bit of them", () => {
  const values = [0.1, 7e-5, 3.3, 900].map((x) => Float32Array.of(x, -x, x * x, x / 3));
  const result = (order: readonly number[]) => {
    const mean = openRunningMean(layout, 1e6, LIMITS);
    for (const i of order)
      mean.add({ client: `c${i}`, sha256: "x", samples: 10 + i, staleness: 0 }, values[i]);
    return mean.result(OLD);
  };
  assert.deepEqual(result([0, 1, 2, 3]), result([3, 1, 0, 2]));
});

test("the largest variances are averaged to the bit of a float32", () => {
  const mean = openRunningMean(layout, 1024, { ...LIMITS, updates: 2 });
  const about = { sha256: "x", staleness: 0, samples: 1000 };
  mean.add({ ...about, client: "a" }, Float32Array.of(0, 0, 1024 ** 2, 3));
  mean.add({ ...about, client: "b" }, Float32Array.of(0, 0, 1024 ** 2, 4));
  assert.deepEqual([...mean.result(OLD)], [0, 0, 1024 ** 2, 3.5]);
});

test("stale ones leave the old values so much of their weight, and no variance below zero", () => {
  const mean = openRunningMean(layout, 1024, { ...LIMITS, staleness: 20 });
  // FedBuff's weight of an update that is 3 commits behind is 1/2.
  mean.add({ client: "a", sha256: "x", samples: 100, staleness: 3 }, Float32Array.of(1, 1, 0, 1));
  close(mean.result(Float32Array.of(3, -1, 0.5, 0)), [2, 0, 0.25, 0.5]);
});

test("a round that nobody sent any in leaves them", () => {
  assert.equal(openRunningMean(layout, 1024, LIMITS).result(OLD), OLD);
});

test("a variance below zero or beyond the square of the run's largest number, and a mean beyond that, are refused", () => {
  const codeOf = (...values: number[]) =>
    refusalOfValues(layout, Float32Array.from(values), 1024)?.code;
  assert.equal(codeOf(-3, 1, 0, 2), undefined);
  assert.equal(codeOf(0, 0, 1, -1e-6), "range");
  assert.equal(codeOf(2000, 0, 1, 1), "range");
  assert.equal(codeOf(255, 0, 127.5 ** 2, 1024 ** 2), undefined);
  assert.equal(codeOf(0, 0, 1, 1.1e6), "range");
  assert.equal(codeOf(0, NaN, 1, 1), "not-finite");
});
