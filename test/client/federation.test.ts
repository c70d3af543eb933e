import assert from "node:assert/strict";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { GivenSettings } from "../../aggregator/settings.js";
import type { ClientOptions } from "../../runtime/client.js";
import { FederatedClient } from "../../runtime/node.js";
import { random } from "../../runtime/tensors/random.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import type { Trainer } from "../../runtime/training/job.js";
import { federation } from "../aggregator/run/federation.js";
import { trainerHere } from "../training/engines.js";

let trainer: Trainer;
before(async () => {
  trainer = await trainerHere("simd");
});

const dataOf = (seed: string, count: number) => {
  const chance = random("federation test", seed);
  return {
    x: Float32Array.from({ length: 4 * count }, () => chance.normal()),
    y: Array.from({ length: count }, () => chance.integer(3)),
  };
};

// Removed at the very end, when no client writes there any more.
const folders: string[] = [];
after(async () => {
  for (const folder of folders) await fs.rm(folder, { recursive: true, force: true });
});

async function joined(url: string, index: number, changes: Partial<ClientOptions> = {}) {
  const state = changes.state ?? (await fs.mkdtemp(join(tmpdir(), "fedflat-client-")));
  folders.push(state);
  const client = new FederatedClient({
    url,
    data: dataOf(`client ${index}`, 20 + index),
    identity: labIdentity("federation test", index),
    trainer,
    ...changes,
    state,
  });
  const happened: string[] = [];
  client.on("assignment", ({ what }) => happened.push(what));
  client.on("problem", (error) => happened.push(error.message));
  const running = client.run();
  after(() => client.stop());
  return { client, running, happened, state };
}

const settings: GivenSettings = {
  rounds: 3,
  minimum: 3,
  gather: 3,
  evaluateFraction: 1,
  localEpochs: 1,
  batchSize: 8,
};

for (const algorithm of ["fedavg", "scaffold", "feddc"])
  test(`three clients and the real aggregator finish three rounds of ${algorithm}`, async () => {
    const there = await federation({ ...settings, algorithm });
    after(() => there.end());
    const evaluations: { count: number }[] = [];
    there.aggregator.on("evaluation", (line) =>
      evaluations.push(line as unknown as { count: number }),
    );
    const clients = await Promise.all([0, 1, 2].map((index) => joined(there.url, index)));
    const outcomes = await Promise.all(clients.map(({ running }) => running));
    const ending = await there.aggregator.done;
    assert.equal(ending.reason, "finished");
    assert.equal(ending.rounds, 3);
    for (const [i, { reason, model }] of outcomes.entries()) {
      assert.equal(reason, "finished");
      assert.equal(model?.sha256, outcomes[0].model?.sha256);
      const { happened } = clients[i];
      assert.equal(happened.filter((what) => what === "committed").length, 3, happened.join());
      assert.ok(happened.includes("reported"), happened.join());
      assert.equal(happened.filter((what) => / /.test(what)).length, 0);
    }
  });

test("clients that number the classes each in an order of their own train as one that has the model's", async () => {
  const names = ["class 0", "class 1", "class 2"];
  const orders = [
    [0, 1, 2],
    [2, 0, 1],
    [1, 2, 0],
  ].map((order) => order.map((place) => names[place]));
  const shas: (string | undefined)[] = [];
  for (const own of [false, true]) {
    const there = await federation({ ...settings, evaluateFraction: 0 });
    after(() => there.end());
    const clients = await Promise.all(
      orders.map((order, index) => {
        const { x, y } = dataOf(`client ${index}`, 20 + index);
        const dataset = {
          shape: [4],
          inputs: x,
          labels: Int32Array.from(y, (label) => (own ? order.indexOf(names[label]) : label)),
          classes: own ? order : names,
        };
        const rows = Uint32Array.from(y.keys());
        return joined(there.url, index, { data: { dataset, rows } });
      }),
    );
    const [{ reason, model }] = await Promise.all(clients.map(({ running }) => running));
    assert.equal(reason, "finished");
    shas.push(model?.sha256);
  }
  assert.equal(shas[1], shas[0]);
});

test("a client whose examples do not fit keeps no round from the others", async () => {
  const there = await federation({ ...settings, rounds: 1, gather: 3, minimum: 2 });
  after(() => there.end());
  const names = dataOf("client 2", 22);
  const wrong = await joined(there.url, 2, {
    data: { x: names.x, y: names.y.map((label) => ["class 0", "class 1", "hamster"][label]) },
  });
  const others = await Promise.all([0, 1].map((index) => joined(there.url, index)));
  const [first] = await Promise.all(others.map(({ running }) => running));
  assert.equal(first.reason, "finished");
  assert.match(wrong.happened.join(), /^"data" label of example \d+ expected .* got "hamster"$/);
});

test("a client that is stopped and started again in mid-run takes part to the end, its state with it", async () => {
  const there = await federation({
    ...settings,
    algorithm: "feddyn",
    evaluateFraction: 0,
    absence: 10_000,
  });
  after(() => there.end());
  const others = await Promise.all([0, 1].map((i) => joined(there.url, i)));
  const first = await joined(there.url, 2);
  // As soon as something of its own is in the model, it goes, and comes back.
  await new Promise<void>((resolve) =>
    first.client.on("assignment", ({ what }) => {
      if (what === "committed") resolve();
    }),
  );
  await first.client.stop();
  assert.equal((await first.running).reason, "stopped");
  const second = await joined(there.url, 2, { state: first.state });
  for (const { running } of [...others, second]) assert.equal((await running).reason, "finished");
  const ending = await there.aggregator.done;
  assert.equal(ending.rounds, 3);
  assert.ok(
    !there.log.some(({ msg }) => /has lost its state/.test(String(msg))),
    "no state was lost",
  );
});
