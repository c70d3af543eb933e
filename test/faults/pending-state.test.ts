import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { Aggregator } from "../../aggregator/run/aggregator.js";
import { listen } from "../../aggregator/server/server.js";
import { memoryLedger } from "../../aggregator/storage/memory.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { FederatedClient } from "../../runtime/client.js";
import { readState } from "../../runtime/tensors/blob.js";
import { random } from "../../runtime/tensors/random.js";
import { readSafetensors } from "../../runtime/tensors/safetensors.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { Platform, StateStore } from "../../runtime/platform/platform.js";
import type { Trainer } from "../../runtime/training/job.js";
import { SUMS, steps, totalSteps } from "../algorithms/exact.js";
import { trainerHere } from "../training/engines.js";
import { labModel, labTrainer } from "./fixtures.js";

const CLIENTS = [0, 1, 2, 3];
const SAMPLES = 16;
/** Of a round with fewer than 512 updates, whose numbers are at most 1024 in size. */
const GRID = 2 ** -32;
const model = labModel();

/**
 * What becomes of the clients' updates, by attempt: counted, held back on the line until the
 * attempt is over, or with numbers that are refused. Three must be counted, or the attempt is
 * abandoned. After the last it begins again.
 */
type Mood = "counted" | "held" | "refused";
const MOODS: readonly (readonly Mood[])[] = [
  ["counted", "counted", "counted", "counted"],
  ["held", "counted", "held", "counted"],
  ["counted", "refused", "counted", "counted"],
  ["counted", "counted", "counted", "held"],
  ["held", "refused", "counted", "counted"],
  ["counted", "held", "counted", "counted"],
];

/** Gives float32 deltas of any scale from 1e-6 to 10; nothing about them is round. */
function wildTrainer(client: number): Trainer {
  const chance = random("wild", client);
  return {
    ...labTrainer,
    async train(job, options) {
      const { metrics } = await labTrainer.train(job, options);
      const scale = 10 ** (7 * chance.next() - 6);
      return { delta: job.weights.map(() => scale * chance.normal()), metrics };
    },
  };
}

async function stateOf(
  store: StateStore,
  run: string,
  names: readonly string[],
): Promise<Readonly<Record<string, Float64Array>>> {
  const record = JSON.parse(new TextDecoder().decode(await store.get(`run.${run}`))) as {
    state: { name: string };
  };
  const bytes = await store.get(record.state.name);
  return readState(bytes!, model.layout, names);
}

async function federation(
  algorithm: string,
  trainers: readonly Trainer[],
  codecs: Pick<GivenSettings, "algorithmSettings" | "codec" | "codecSettings" | "modelCodec"> = {},
): Promise<void> {
  const ledger = memoryLedger();
  const aggregator = await Aggregator.open({
    model,
    ledger,
    settings: {
      algorithm,
      ...codecs,
      rounds: 5,
      gather: CLIENTS.length,
      minimum: CLIENTS.length,
      overSelection: 1,
      quorum: 0.75,
      deadline: 1000,
      pause: 20,
      evaluateFraction: 0,
      localEpochs: 1,
      batchSize: SAMPLES / 2,
      learningRate: 0.5,
      learningRateDecay: 0.9,
    },
  });
  const seen = new Set<string>();
  let attempts = 0;
  /** What waits for the attempt to be over. */
  let held: (() => void)[] = [];
  const over = () => {
    for (const send of held) send();
    held = [];
  };
  aggregator.on("opened", () => attempts++);
  aggregator.on("round", over);
  aggregator.on("abandoned", () => {
    seen.add("abandoned");
    over();
  });
  aggregator.on("refused", ({ code }) => seen.add(code));
  const moodOf = (client: number): Mood => MOODS[(attempts - 1) % MOODS.length][client];

  /** Finished updates, with their state pending in the store, are offered when it is too late. */
  const holding =
    (client: number): Platform["openSocket"] =>
    (...args) => {
      const socket = node.openSocket(...args);
      const send = socket.send.bind(socket);
      socket.send = (data) => {
        const isOffer = typeof data === "string" && JSON.parse(data).type === "offer";
        if (isOffer && moodOf(client) === "held") held.push(() => send(data));
        else send(data);
      };
      return socket;
    };
  const node = nodePlatform({});
  const moody = (client: number): Trainer => {
    const trainer = trainers[client];
    return {
      ...trainer,
      async train(job, options) {
        const { delta, metrics } = await trainer.train(job, options);
        // All of them, since a codec may send any few.
        if (moodOf(client) === "refused") delta.fill(5000);
        return { delta, metrics };
      },
    };
  };
  const server = await listen(aggregator, { port: 0 });
  const stores = CLIENTS.map(memoryStore);
  await Promise.all(
    stores.map((store, i) => {
      const chance = random("data", i);
      return new FederatedClient(
        {
          url: server.url,
          state: "",
          holdOut: 0,
          data: {
            x: new Float32Array(4 * SAMPLES).map(() => chance.normal()),
            y: Array.from({ length: SAMPLES }, () => chance.integer(3)),
          },
          trainer: moody(i),
        },
        {
          ...nodePlatform({ identity: labIdentity("pending", i) }),
          openState: async () => store,
          openSocket: holding(i),
        },
      ).run();
    }),
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
    stores.map((store) => stateOf(store, run, Object.values(SUMS[algorithm]))),
  );
  for (const [kept, name] of Object.entries(SUMS[algorithm])) {
    const sum = tensors.get(kept)!.data as Float64Array;
    // A codec that sends the largest numbers leaves others where they were.
    assert.ok(
      codecs.codec === "topk-int8" || codecs.codec === "randk"
        ? sum.some(Boolean)
        : sum.every(Boolean),
    );
    assert.deepEqual(
      steps(sum, GRID),
      totalSteps(
        states.map((state) => state[name]),
        GRID,
      ),
    );
  }
}

describe(
  "with late, refused and abandoned updates, the server's sum is that of the clients' states to the bit:",
  {
    concurrency: true,
  },
  () => {
    for (const algorithm of ["feddyn", "scaffold", "feddc"])
      test(`${algorithm}, with deltas of any scale`, () =>
        federation(algorithm, CLIENTS.map(wildTrainer)));

    test("feddc, with real training", async () => {
      const trainers = await Promise.all(CLIENTS.map(() => trainerHere("simd")));
      after(() => trainers.forEach((trainer) => trainer.close()));
      await federation("feddc", trainers);
    });
  },
);

for (const [algorithm, codecs] of [
  ["feddyn", { codec: "int8", codecSettings: { block: 8 } }],
  ["scaffold", { codec: "int8", modelCodec: "float16" }],
  ["feddc", { codec: "bfloat16", modelCodec: "float16" }],
  ["feddc", { codec: "int8", modelCodec: "int8" }],
  [
    "memory",
    {
      codec: "randk",
      codecSettings: { fraction: 0.5 },
      algorithmSettings: { serverLearningRate: 0.5 },
    },
  ],
  ["memory", { codec: "topk-int8", codecSettings: { fraction: 0.2 }, modelCodec: "float16" }],
] as const)
  test(`${algorithm} in ${codecs.codec}, models in ${"modelCodec" in codecs ? codecs.modelCodec : "float32"}: the server's sums are those of the clients' states, to the bit, whatever became of their updates`, () =>
    federation(algorithm, CLIENTS.map(wildTrainer), codecs));
