import assert from "node:assert/strict";
import { test } from "node:test";
import { makeDataset } from "../../runtime/data/dataset.js";
import { normalisationOf } from "../../runtime/data/normalise.js";

test("mean and deviation of each channel, of all rows and of some", () => {
  const data = makeDataset("d", {
    shape: [2, 2],
    inputs: Float32Array.of(1, 10, 3, 10, 5, 10, 7, 10, 100, 10, 200, 10),
    labels: [0, 1, 0],
  });
  const some = normalisationOf(data, Uint32Array.of(0, 1));
  // Channel 0 is 1, 3, 5, 7: mean 4, variance 5. Channel 1 never changes.
  assert.deepEqual(some, {
    scale: 1,
    mean: [4, 10],
    deviation: [Math.sqrt(5), 1],
  });
  assert.equal(normalisationOf(data).mean[0], 316 / 6);
});

test("bytes are scaled by 255", () => {
  const data = makeDataset("d", {
    shape: [1, 2, 1],
    inputs: Uint8Array.of(0, 255),
    labels: [0],
  });
  assert.deepEqual(normalisationOf(data), {
    scale: 255,
    mean: [0.5],
    deviation: [0.5],
  });
});
