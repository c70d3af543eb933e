import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { GivenSettings } from "../../aggregator/settings.js";
import { FederatedClient, type Prediction } from "../../runtime/client.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import { random } from "../../runtime/tensors/random.js";
import { federation } from "../aggregator/run/federation.js";
import { trainerHere } from "../training/engines.js";

const trainer = await trainerHere("simd");
after(() => trainer.close());

/** Examples whose class is the largest of three inputs; the second client calls them otherwise. */
function dataOf(client: number) {
  const chance = random("data", client);
  const x = Float32Array.from({ length: 4 * 60 }, () => chance.normal());
  const y = Array.from({ length: 60 }, (_, i) => {
    const three = [...x.subarray(4 * i, 4 * i + 3)];
    return (three.indexOf(Math.max(...three)) + client) % 3;
  });
  return { x, y };
}

const SETTINGS: GivenSettings = {
  ...{ rounds: 2, gather: 2, minimum: 2, localEpochs: 2, batchSize: 8, learningRate: 0.2 },
};

function clientOf(index: number, url: string, store = memoryStore(), holdOut = 0.3) {
  const node = nodePlatform({ identity: labIdentity("personalise", index) });
  return new FederatedClient(
    { url, state: "", data: dataOf(index), trainer, holdOut },
    { ...node, openState: async () => ({ ...store, close: async () => {} }) },
  );
}

async function withRun(body: (url: string) => Promise<void>): Promise<void> {
  const there = await federation(SETTINGS);
  try {
    await body(there.url);
  } finally {
    await there.end();
  }
}

const probabilitiesOf = ([one]: Prediction[]): number[] =>
  one.task === "classes" ? [...one.probabilities] : [];
const X = Float32Array.of(1, -1, 0.5, 2);

test("a personal model is better on what its client holds out, and predicts until it is dropped", () =>
  withRun(async (url) => {
    const clients = [0, 1].map((index) => clientOf(index, url));
    await Promise.all(clients.map((client) => client.run()));
    for (const client of clients) {
      const before = probabilitiesOf(await client.predict(X));
      const { global, personal } = await client.personalise({ epochs: 40, learningRate: 0.2 });
      assert.ok(global && personal);
      assert.ok(global.count > 8 && global.count < 30 && personal.count === global.count);
      assert.ok(personal.correct > global.correct && personal.loss < global.loss);
      const tuned = probabilitiesOf(await client.predict(X));
      assert.notDeepEqual(tuned, before);
      // It begins with the global model again, and the same seed gives the same bits.
      assert.deepEqual(await client.personalise({ epochs: 40, learningRate: 0.2 }), {
        global,
        personal,
      });
      assert.deepEqual(probabilitiesOf(await client.predict(X)), tuned);
      const dropped = await client.personalise({ epochs: 0 });
      assert.deepEqual(dropped.personal, global);
      assert.deepEqual(probabilitiesOf(await client.predict(X)), before);
    }
  }));

test("a newer global model takes the place of the personal one, in a run and beside its training", () =>
  withRun(async (url) => {
    const clients = [0, 1].map((index) => clientOf(index, url));
    const tuned: Promise<unknown>[] = [];
    clients[0].on("model", ({ round }) => {
      if (round === 1) tuned.push(clients[0].personalise());
    });
    await Promise.all(clients.map((client) => client.run()));
    assert.equal(tuned.length, 1);
    await tuned[0];
    const [one, other] = await Promise.all(clients.map((client) => client.predict(X)));
    assert.deepEqual(one, other);
  }));

test("what is no personal model of the newest global one is passed over", () =>
  withRun(async (url) => {
    const store = memoryStore();
    await store.put("personal", Uint8Array.of(1, 2, 3));
    const clients = [clientOf(0, url, store), clientOf(1, url)];
    await Promise.all(clients.map((client) => client.run()));
    const [one, other] = await Promise.all(clients.map((client) => client.predict(X)));
    assert.deepEqual(one, other);
  }));

test("without a model, or with a number that is none, there is an error with its code", async () => {
  const client = clientOf(0, "ws://127.0.0.1:1");
  await assert.rejects(client.personalise(), { code: "no-model" });
  await assert.rejects(client.personalise({ epochs: NaN }), { code: "personalise" });
  await assert.rejects(client.personalise({ epochs: -1 }), { code: "personalise" });
});

test("where nothing is held out nothing is said of it, and too large a step is diverged", () =>
  withRun(async (url) => {
    const clients = [0, 1].map((index) => clientOf(index, url, memoryStore(), 0));
    await Promise.all(clients.map((client) => client.run()));
    const before = await clients[0].predict(X);
    await assert.rejects(clients[0].personalise({ learningRate: Infinity }), { code: "diverged" });
    assert.deepEqual(await clients[0].predict(X), before);
    const { global, personal } = await clients[0].personalise();
    assert.deepEqual([global, personal], [undefined, undefined]);
    assert.notDeepEqual(await clients[0].predict(X), before);
  }));
