import assert from "node:assert/strict";
import { test } from "node:test";
import { Aggregator } from "../../aggregator/aggregator.js";
import { listen } from "../../aggregator/server.js";
import { memoryLedger } from "../../aggregator/storage/memory.js";
import { FederatedClient } from "../../runtime/client.js";
import { readBlob } from "../../runtime/params/blob.js";
import { random } from "../../runtime/params/random.js";
import { readSafetensors } from "../../runtime/params/safetensors.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { StateStore } from "../../runtime/platform/platform.js";
import type { Trainer } from "../../runtime/training/job.js";
import { labModel, labTrainer } from "./lab.js";

const CLIENTS = 4;
const SAMPLES = 16;
const model = labModel();

/**
 * Gives deltas of multiples of 1/64, with which every sum of these algorithms is exact in float32 too: so a difference of one
 * bit is an update that was counted on one end alone. At times it is slow, or gives what must be refused.
 */
function moodyTrainer(client: number): Trainer {
  const chance = random("moods", client);
  let jobs = 0;
  return {
    ...labTrainer,
    async train(job, options) {
      const mood = jobs++ === 0 ? 1 : chance.next();
      if (mood < 0.2) await new Promise((resolve) => setTimeout(resolve, 1200));
      const { metrics } = await labTrainer.train(job, options);
      const value = () =>
        mood >= 0.2 && mood < 0.45
          ? 5000
          : Math.round(64 * chance.normal()) / 64;
      return { delta: job.weights.map(value), metrics };
    },
  };
}

async function stateOf(
  store: StateStore,
  run: string,
  names: readonly string[],
): Promise<Readonly<Record<string, Float32Array>>> {
  const record = JSON.parse(
    new TextDecoder().decode(await store.get(`run.${run}`)),
  ) as { state: { name: string } };
  const bytes = await store.get(record.state.name);
  return readBlob(bytes!, model.layout, names);
}

for (const [algorithm, sums] of [
  ["feddyn", { drift: { server: "driftSum", divisor: 1 } }],
  ["scaffold", { control: { server: "control", divisor: CLIENTS } }],
  [
    "feddc",
    {
      drift: { server: "driftSum", divisor: 1 },
      control: { server: "control", divisor: CLIENTS },
    },
  ],
] as const)
  test(`${algorithm}: with late, refused and abandoned updates, the server's sum is that of the clients' states to the bit`, async () => {
    const ledger = memoryLedger();
    const aggregator = new Aggregator({
      model,
      ledger,
      settings: {
        algorithm,
        rounds: 5,
        gather: CLIENTS,
        minimum: CLIENTS,
        overSelection: 1,
        quorum: 0.75,
        deadline: 700,
        pause: 20,
        evaluateFraction: 0,
        localEpochs: 1,
        batchSize: SAMPLES / 2,
        learningRate: 0.5,
        learningRateDecay: 1,
      },
    });
    await aggregator.start();
    const server = await listen(aggregator, { port: 0 });
    const seen = new Set<string>();
    aggregator.on("abandoned", () => seen.add("abandoned"));
    aggregator.on("refused", ({ code }) => seen.add(code));
    const stores = Array.from({ length: CLIENTS }, memoryStore);
    await Promise.all(
      stores.map((store, i) =>
        new FederatedClient(
          {
            url: server.url,
            state: "",
            holdOut: 0,
            data: {
              x: new Float32Array(4 * SAMPLES),
              y: Array.from({ length: SAMPLES }, (_, row) => row % 3),
            },
            trainer: moodyTrainer(i),
          },
          {
            ...nodePlatform({ identity: labIdentity("pending", i) }),
            openState: async () => store,
          },
        ).run(),
      ),
    );
    const ending = await aggregator.done;
    assert.deepEqual([ending.reason, ending.rounds], ["finished", 5]);
    await aggregator.stop();
    await server.close();
    assert.deepEqual(
      ["abandoned", "late", "range"].filter((what) => !seen.has(what)),
      [],
      "every kind of failure was there",
    );

    const none = { sha256: "", bytes: new Uint8Array() };
    const { last, run } = await ledger.open({ model: none, state: none });
    const { tensors } = readSafetensors(last.state.bytes);
    const states = await Promise.all(
      stores.map((store) => stateOf(store, run, Object.keys(sums))),
    );
    for (const [name, { server: kept, divisor }] of Object.entries(sums)) {
      const sum = Array.from({ length: model.layout.size }, (_, i) =>
        states.reduce((total, state) => total + state[name][i], 0),
      );
      assert.ok(sum.some((x) => x !== 0));
      assert.deepEqual(
        [...tensors.get(kept)!.data],
        sum.map((x) => x / divisor),
      );
    }
  });
