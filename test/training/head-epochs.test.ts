import assert from "node:assert/strict";
import { after, test } from "node:test";
import { algorithmNamed } from "../../runtime/algorithms/built-in.js";
import { parseDescription, type ModelDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { takeShare } from "../../runtime/models/shares.js";
import type { Vector } from "../../runtime/tensors/layout.js";
import type { Snapshot } from "../../runtime/training/job.js";
import { trainRound } from "../../runtime/training/train-round.js";
import { clientsOf, settings } from "../algorithms/rounds-in-process.js";
import { trainerHere } from "./engines.js";

// FedRep: the personal layers are trained first with the shared ones held, then the other way round.
// What is held must do as a frozen layer does, which has tests of its own.

const described = (body: object, head: object): ModelDescription =>
  parseDescription({
    input: [6],
    layers: [
      { type: "dense", units: 5, activation: "tanh", ...body },
      { type: "dense", units: 3, ...head },
    ],
  });
const MODEL = described({}, { personal: true });
const network = networkOf(MODEL);
const { shared, personal } = network.shares;
const weights = initialWeights(network, "7");
const [part] = clientsOf([12]);
const SETTINGS = { ...settings, shuffle: false, zeta: 0, clipNorm: 0.05, seed: "1" };

const trainer = await trainerHere("simd", { snapshots: true });
after(() => trainer.close());

const whole = (body: Vector, head: Vector): Vector => Float32Array.of(...body, ...head);
const moved = (from: Vector, delta: Vector): Vector => from.map((x, i) => x + delta[i]);

for (const name of ["fedavg", "fedprox", "fedsam", "fedasam"])
  test(`${name}: two passes for the head and three for the body are those of models that are half frozen`, async () => {
    const algorithm = algorithmNamed(name);
    const given = { algorithm, part, settings: SETTINGS };
    const [body, head] = [shared, personal].map((share) => takeShare(share, weights));
    const both = await trainRound(trainer, {
      ...given,
      ...{ description: MODEL, weights },
      settings: { ...SETTINGS, headEpochs: 2, localEpochs: 3 },
    });
    // To personal layers an algorithm adds nothing but its ascent.
    const headFirst = await trainRound(trainer, {
      ...given,
      algorithm: name === "fedprox" ? algorithmNamed("fedavg") : algorithm,
      ...{ description: described({ frozen: true }, {}), weights },
      settings: { ...SETTINGS, localEpochs: 2 },
    });
    const trainedHead = moved(head, headFirst.delta);
    const bodyThen = await trainRound(trainer, {
      ...given,
      ...{ description: described({}, { frozen: true }), weights: whole(body, both.personal!) },
      settings: { ...SETTINGS, localEpochs: 3 },
    });
    trainedHead.forEach((x, i) => assert.ok(Math.abs(x - both.personal![i]) < 1e-6));
    assert.deepEqual(both.delta, bodyThen.delta);
    assert.notDeepEqual(both.personal, head);
  });

test("a round that is cut in either half goes on with the same bits", async () => {
  const snapshots: Snapshot[] = [];
  const round = {
    ...{ description: MODEL, weights, algorithm: algorithmNamed("fedavg"), part },
    settings: { ...SETTINGS, headEpochs: 2, localEpochs: 2 },
  };
  const { metrics: _, ...undisturbed } = await trainRound(trainer, round, {
    onSnapshot: async (snapshot) => void snapshots.push(snapshot),
  });
  // Three batches an epoch.
  assert.equal(snapshots.length, 12);
  for (const from of [snapshots[3], snapshots[5], snapshots[8]]) {
    const { metrics: _, ...resumed } = await trainRound(trainer, { ...round, from });
    assert.deepEqual(resumed, undisturbed);
  }
});
