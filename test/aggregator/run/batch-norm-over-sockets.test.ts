import assert from "node:assert/strict";
import { before, test } from "node:test";
import { Aggregator } from "../../../aggregator/run/aggregator.js";
import { listen } from "../../../aggregator/server/server.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import type { Checkpoint, Ledger } from "../../../aggregator/storage/ledger.js";
import { memoryLedger } from "../../../aggregator/storage/memory.js";
import { FederatedClient } from "../../../runtime/client.js";
import { parseDescription } from "../../../runtime/models/description.js";
import { initialModel } from "../../../runtime/models/initial.js";
import { loadModel } from "../../../runtime/models/model.js";
import { networkOf } from "../../../runtime/models/network.js";
import { takeShare } from "../../../runtime/models/shares.js";
import { memoryStore } from "../../../runtime/platform/memory-store.js";
import { labIdentity } from "../../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../../runtime/platform/node.js";
import type { StateStore } from "../../../runtime/platform/platform.js";
import { random } from "../../../runtime/tensors/random.js";
import { readSafetensors } from "../../../runtime/tensors/safetensors.js";
import type { Trainer } from "../../../runtime/training/job.js";
import { steps, totalSteps } from "../../algorithms/exact.js";
import { trainerHere } from "../../training/engines.js";

// BatchNorm's running values between real clients and a real aggregator. The layer reads the inputs,
// so that what they are is known without training.

const WIDTH = 4;
const BATCH = 8;
const SIZES = [24, 40];
const description = parseDescription({
  input: [WIDTH],
  layers: [
    { type: "batchNorm", momentum: 0.8 },
    { type: "dense", units: 5, activation: "relu" },
    { type: "dense", units: 2 },
  ],
});
const model = initialModel({ description, classes: ["a", "b"] }, "batches");
const { shares } = networkOf(description);
const INITIAL = [0, 0, 0, 0, 1, 1, 1, 1];

const SETTINGS: GivenSettings = {
  ...{ gather: 2, minimum: 2, clientsPerRound: 2, overSelection: 1 },
  ...{ localEpochs: 1, batchSize: BATCH, shuffle: false, learningRate: 0.1 },
  ...{ normalise: "none", seed: "7", evaluateFraction: 0 },
};

function dataOf(client: number) {
  const chance = random("data", client);
  const count = SIZES[client];
  const x = Float32Array.from(
    { length: WIDTH * count },
    (_, i) => (1 + (i % WIDTH)) * chance.normal() + client,
  );
  return { x, y: Array.from({ length: count }, (_, i) => Number(x[WIDTH * i] > client)) };
}

/** Means and variances after a pass over the client's batches, by the layer's own words. */
function passed(values: readonly number[], client: number): number[] {
  const next = [...values];
  const { x } = dataOf(client);
  for (let from = 0; from < SIZES[client]; from += BATCH)
    for (let c = 0; c < WIDTH; c++) {
      const seen = [...x.subarray(WIDTH * from, WIDTH * (from + BATCH))].filter(
        (_, i) => i % WIDTH === c,
      );
      const mean = seen.reduce((a, b) => a + b) / seen.length;
      const squares = seen.reduce((sum, one) => sum + (one - mean) ** 2, 0);
      next[c] = 0.8 * next[c] + 0.2 * mean;
      next[WIDTH + c] = 0.8 * next[WIDTH + c] + (0.2 * squares) / (seen.length - 1);
    }
  return next;
}

function averaged(values: readonly number[]): number[] {
  const [a, b] = SIZES.map((_, client) => passed(values, client));
  const [n, m] = SIZES;
  return a.map((value, i) => (n * value + m * b[i]) / (n + m));
}

const close = (actual: ArrayLike<number>, expected: readonly number[]) => {
  assert.equal(actual.length, expected.length);
  expected.forEach((value, i) =>
    assert.ok(
      Math.abs(actual[i] - value) <= 1e-5 * Math.max(1, Math.abs(value)),
      `place ${i} expected ${value}, got ${actual[i]}`,
    ),
  );
};

let trainer: Trainer;
before(async () => {
  trainer = await trainerHere("simd");
});

/** Takes a run up again until so many rounds are committed, with new clients on the same stores. */
async function until(
  rounds: number,
  ledger: Ledger,
  stores: readonly StateStore[],
  settings: GivenSettings,
): Promise<Float32Array> {
  const aggregator = await Aggregator.open({
    ...{ model, ledger },
    settings: { ...SETTINGS, ...settings, rounds },
  });
  const server = await listen(aggregator, { port: 0 });
  try {
    const outcomes = await Promise.all(
      stores.map((store, i) =>
        new FederatedClient(
          { url: server.url, state: "", data: dataOf(i), trainer, holdOut: 0 },
          {
            ...nodePlatform({ identity: labIdentity("7", i) }),
            openState: async () => ({ ...store, close: async () => {} }),
          },
        ).run(),
      ),
    );
    for (const { reason, message } of outcomes) assert.equal(reason, "finished", message);
    const { model: file } = await aggregator.done;
    return loadModel(file).weights;
  } finally {
    await aggregator.stop();
    await server.close();
  }
}

const NOTHING: Checkpoint = {
  model: { sha256: "", bytes: new Uint8Array() },
  state: { sha256: "", bytes: new Uint8Array() },
};
const storesOf = () => SIZES.map(() => memoryStore());
const stateOf = async (store: StateStore) => {
  const [name] = (await store.list()).filter((one) => one.startsWith("state."));
  return readSafetensors((await store.get(name))!).tensors;
};

for (const modelCodec of ["float32", "float16"] as const)
  test(`averaged running values are the clients' mean, also behind a restart, models in ${modelCodec}`, async () => {
    const ledger = memoryLedger();
    const stores = storesOf();
    const first = await until(1, ledger, stores, { modelCodec });
    close(takeShare(shares.statistics, first), averaged(INITIAL));
    const second = await until(2, ledger, stores, { modelCodec });
    const halved = modelCodec === "float16" ? 2e-3 : 0;
    averaged(averaged(INITIAL)).forEach((value, i) =>
      assert.ok(
        Math.abs(takeShare(shares.statistics, second)[i] - value) <=
          1e-5 + halved * Math.abs(value),
      ),
    );
  });

test("local running values stay with their client, beside its state, also behind a restart", async () => {
  const ledger = memoryLedger();
  const stores = storesOf();
  const settings: GivenSettings = { batchNorm: "local", algorithm: "scaffold" };
  await until(1, ledger, stores, settings);
  const weights = await until(2, ledger, stores, settings);
  assert.deepEqual([...takeShare(shares.statistics, weights)], INITIAL);
  const states = await Promise.all(stores.map(stateOf));
  states.forEach((tensors, client) =>
    close(
      [...tensors.get("personal/0.mean")!.data, ...tensors.get("personal/0.variance")!.data],
      passed(passed(INITIAL, client), client),
    ),
  );
});

for (const batchNorm of ["average", "local"] as const)
  test(`with ${batchNorm} running values the server's sum is that of the clients' states, to the bit`, async () => {
    const ledger = memoryLedger();
    const stores = storesOf();
    await until(1, ledger, stores, { batchNorm, algorithm: "scaffold" });
    await until(3, ledger, stores, { batchNorm, algorithm: "scaffold" });
    const { last } = await ledger.open(NOTHING);
    const sum = readSafetensors(last.state.bytes).tensors.get("controlSum")!.data;
    const controls = (await Promise.all(stores.map(stateOf))).map((tensors) =>
      Float64Array.from(
        [...tensors].flatMap(([name, { data }]) => (name.startsWith("control/") ? [...data] : [])),
      ),
    );
    const FINEST = 2 ** -48;
    assert.ok(sum instanceof Float64Array);
    assert.ok(sum.some((value) => value !== 0));
    assert.deepEqual(steps(sum, FINEST), totalSteps(controls, FINEST));
  });

test("frozen running values stay as the model brings them", async () => {
  const weights = await until(1, memoryLedger(), storesOf(), { batchNorm: "frozen" });
  assert.deepEqual([...takeShare(shares.statistics, weights)], INITIAL);
});

test("a run goes on with what becomes of running values as it was begun", async () => {
  const [average, local] = [memoryLedger(), memoryLedger()];
  await until(1, average, storesOf(), {});
  await until(1, local, storesOf(), { batchNorm: "local" });
  const resumed = (ledger: Ledger, batchNorm: GivenSettings["batchNorm"]) =>
    Aggregator.open({ model, ledger, settings: { ...SETTINGS, batchNorm, rounds: 2 } });
  for (const [ledger, batchNorm] of [
    [average, "local"],
    [average, "frozen"],
    [local, "frozen"],
    [local, "average"],
  ] as const)
    await assert.rejects(resumed(ledger, batchNorm), { code: "resume", message: /^"batchNorm"/ });
  // Before the first round too, of which no record says it.
  const unbegun = memoryLedger();
  await (await Aggregator.open({ model, ledger: unbegun, settings: SETTINGS })).stop();
  await assert.rejects(resumed(unbegun, "local"), { code: "resume", message: /^"batchNorm"/ });
});

test("averages are refused beside noise and beside rules that would not see them", async () => {
  const open = (settings: GivenSettings) =>
    Aggregator.open({ model, ledger: memoryLedger(), settings: { ...SETTINGS, ...settings } });
  await assert.rejects(open({ dpNoise: 1, dpClip: 1, batchNorm: "average" }), {
    code: "settings",
    message: /batchNorm/,
  });
  await assert.rejects(open({ aggregate: "median", hostile: 0 }), {
    code: "settings",
    message: /batchNorm/,
  });
});
