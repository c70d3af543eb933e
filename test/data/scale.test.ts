import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dataset } from "../../runtime/data/dataset.js";
import { scaleRemark } from "../../runtime/data/scale.js";

const dataset = (shape: number[], inputs: Dataset["inputs"], columns?: string[]): Dataset => ({
  shape,
  inputs,
  columns,
  labels: new Int32Array(),
  classes: [],
});

test("inputs far from unit scale are remarked on, with the channel that is farthest", () => {
  // Acceleration in g beside an angle in degrees: means 1 and 90, deviations 0 and 10.
  const angles = Float32Array.of(1, 80, 1, 100, 1, 80, 1, 100);
  assert.match(
    scaleRemark(dataset([2, 2], angles))!,
    /^Inputs are far from unit scale \(channel 1: mean 90, deviation 10\) and the model has no/,
  );
  assert.match(
    scaleRemark(dataset([2], angles, ["g", "angle"]))!,
    /\(column "angle": mean 90, deviation 10\)/,
  );
  // One channel of ten times less than the other.
  const small = Float32Array.of(1, 0.1, -1, -0.1);
  assert.match(scaleRemark(dataset([1, 2], small))!, /\(channel 1: mean 0, deviation 0.1\)/);
  assert.match(scaleRemark(dataset([1, 1, 1], Uint8Array.of(0, 255)))!, /mean 130, deviation 130/);
});

test("near unit scale nothing is remarked on; a rare one in a table is no small scale", () => {
  assert.equal(scaleRemark(dataset([2, 2], Float32Array.of(1, -1, 0.5, 2))), undefined);
  assert.equal(scaleRemark(dataset([1], new Float32Array(100))), undefined);
  const rare = new Float32Array(200);
  for (let row = 0; row < 100; row++) rare[2 * row] = row % 2 === 0 ? 1 : -1;
  rare[1] = 1;
  assert.equal(scaleRemark(dataset([2], rare)), undefined);
  assert.match(
    scaleRemark(
      dataset(
        [2],
        rare.map((value) => value / 100),
      ),
    )!,
    /far from unit scale/,
  );
});
