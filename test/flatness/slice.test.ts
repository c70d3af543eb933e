import assert from "node:assert/strict";
import { test } from "node:test";
import { filterNormalisedDirection, lossSlice } from "../../runtime/flatness/slice.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import { trainerHere } from "../training/engines.js";

const description = parseDescription({
  input: [6, 6, 2],
  layers: [
    { type: "conv2d", filters: 4, kernelSize: 3, activation: "relu" },
    { type: "groupNorm", groups: 2 },
    { type: "depthwiseConv2d", kernelSize: 2, multiplier: 3 },
    { type: "flatten" },
    { type: "dense", units: 5 },
  ],
});
const network = networkOf(description);
const weights = initialWeights(network, "slice");
const model = { description, weights };

test("each filter of a direction is as long as the weights' own; all but kernels stands still", () => {
  const direction = filterNormalisedDirection(model, 1, 0);
  // Outputs of each kernel: filters, channels times multiplier, units.
  const filters: Record<string, number> = {
    "0.kernel": 4,
    "2.kernel": 12,
    "4.kernel": 5,
  };
  for (const { name, offset, size } of network.layout.parameters) {
    const count = filters[name];
    if (count === undefined) {
      assert.ok(direction.slice(offset, offset + size).every((d) => d === 0));
      continue;
    }
    for (let filter = 0; filter < count; filter++) {
      const length = (vector: Float32Array) =>
        Math.hypot(...vector.slice(offset, offset + size).filter((_, i) => i % count === filter));
      assert.ok(Math.abs(length(direction) - length(weights)) < 1e-5 * length(weights), name);
    }
  }
  assert.deepEqual(direction, filterNormalisedDirection(model, 1, 0));
  assert.notDeepEqual(direction, filterNormalisedDirection(model, 1, 1));
  assert.notDeepEqual(direction, filterNormalisedDirection(model, 2, 0));
});

test("a slice has the model's own loss in its middle, and the loss of moved weights elsewhere", async () => {
  const trainer = await trainerHere("simd");
  const chance = random("slice data");
  const count = 20;
  const dataset = {
    shape: description.input,
    inputs: Float32Array.from({ length: count * 72 }, () => chance.normal()),
    labels: Int32Array.from({ length: count }, () => chance.integer(5)),
    classes: ["a", "b", "c", "d", "e"],
  };
  const part = { dataset, rows: Uint32Array.from(dataset.labels.keys()) };
  const lossAt = async (weights: Float32Array) =>
    (await trainer.evaluate({ description, weights, part })).loss / count;
  const told: number[] = [];
  const { coordinates, losses } = await lossSlice(trainer, model, part, {
    radius: 0.5,
    points: 5,
    seed: 3,
    onPoint: (done) => told.push(done),
  });
  assert.deepEqual(coordinates, [-0.5, -0.25, 0, 0.25, 0.5]);
  assert.equal(told.length, 25);
  assert.equal(losses[2][2], await lossAt(weights));
  const first = filterNormalisedDirection(model, 3, 0);
  const second = filterNormalisedDirection(model, 3, 1);
  const moved = weights.map((w, i) => w + 0.25 * first[i] - 0.5 * second[i]);
  assert.equal(losses[0][3], await lossAt(moved));
  trainer.close();
});
