import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ditto } from "../../runtime/algorithms/ditto.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { putShare, takeShare } from "../../runtime/models/shares.js";
import { trainRound } from "../../runtime/training/train-round.js";
import { trainerHere } from "../training/engines.js";
import { clientsOf, settings } from "./rounds-in-process.js";

const trainer = await trainerHere("simd");
after(() => trainer.close());

const [part] = clientsOf([8]);
const { inputs, labels } = part.dataset;

/** Softmax regression of 6 inputs and 3 classes: kernel and bias end to end. */
const linear = parseDescription({ input: [6], layers: [{ type: "dense", units: 3 }] });

/** One step of gradient descent on all examples, by hand. */
function stepped(v: readonly number[], w: readonly number[], lambda: number, rate: number) {
  const gradient = v.map((x, i) => lambda * (x - w[i]));
  labels.forEach((label, row) => {
    const x = [...inputs.subarray(6 * row, 6 * row + 6), 1];
    const logits = [0, 1, 2].map((k) => x.reduce((sum, value, j) => sum + value * v[3 * j + k], 0));
    const total = logits.reduce((sum, z) => sum + Math.exp(z), 0);
    logits.forEach((z, k) => {
      const error = Math.exp(z) / total - Number(k === label);
      x.forEach((value, j) => (gradient[3 * j + k] += (error * value) / labels.length));
    });
  });
  return v.map((x, i) => x - rate * gradient[i]);
}

test("the personal model goes from where it was to where its loss and the global model pull it", async () => {
  const global = initialWeights(networkOf(linear), "3");
  const round = {
    ...{ description: linear, weights: global, algorithm: ditto, part },
    settings: {
      ...settings,
      ...{ localEpochs: 2, batchSize: 8, clipNorm: 0, weightDecay: 0, zeta: 0, seed: "1" },
      algorithmSettings: { lambda: 0.7 },
    },
  };
  const first = await trainRound(trainer, round);
  const rate = settings.learningRate;
  let expected = [...global];
  for (let step = 0; step < 2; step++) expected = stepped(expected, [...global], 0.7, rate);
  const near = (got: ArrayLike<number>) =>
    expected.forEach((x, i) => assert.ok(Math.abs(got[i] - x) < 1e-5, `${i}: ${x}, ${got[i]}`));
  near(first.state.personal);

  const weights = global.map((x) => x / 2);
  const second = await trainRound(trainer, { ...round, weights, state: first.state });
  for (let step = 0; step < 2; step++) expected = stepped(expected, [...weights], 0.7, rate);
  near(second.state.personal);
  // What is sent is of the shared model.
  let shared = [...weights];
  for (let step = 0; step < 2; step++) shared = stepped(shared, shared, 0, rate);
  shared.forEach((x, i) => assert.ok(Math.abs(weights[i] + second.update.delta[i] - x) < 1e-5));
});

test("personal layers and local running values are those of the model that the client predicts with", async () => {
  const description = parseDescription({
    input: [6],
    layers: [
      { type: "dense", units: 4 },
      { type: "batchNorm" },
      { type: "dense", units: 3, personal: true },
    ],
  });
  const network = networkOf(description);
  const { shared } = network.shares;
  const weights = initialWeights(network, "3");
  const own = weights.slice();
  putShare(
    shared,
    takeShare(shared, weights).map((x) => -x),
    own,
  );
  const round = {
    ...{ description, weights, algorithm: ditto, part },
    state: { personal: Float64Array.from(takeShare(shared, own)) },
  };
  const given = { ...settings, batchNorm: "local" as const, zeta: 0, seed: "1" };
  const both = await trainRound(trainer, {
    ...round,
    settings: { ...given, algorithmSettings: { lambda: 0 } },
  });
  const { personal, statistics } = await trainer.train({
    ...{ description, weights: own, part, objective: {}, settings: given },
  });
  assert.deepEqual(both.personal, personal);
  assert.deepEqual(both.statistics, statistics);
  const averaged = await trainRound(trainer, {
    ...round,
    settings: { ...given, batchNorm: "average" },
  });
  const alone = await trainer.train({
    ...{ description, weights, part, objective: {} },
    settings: { ...given, batchNorm: "average" },
  });
  assert.deepEqual(averaged.statistics, alone.statistics, "what is sent is of the shared model");
});
