import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { Aggregator, type Ending } from "../../../aggregator/run/aggregator.js";
import { listen } from "../../../aggregator/server/server.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { BUILT_IN } from "../../../runtime/algorithms/built-in.js";
import { FederatedClient } from "../../../runtime/client.js";
import { parseDescription, type ModelDescription } from "../../../runtime/models/description.js";
import { writeBase } from "../../../runtime/models/base.js";
import { initialModel } from "../../../runtime/models/initial.js";
import { loadModel } from "../../../runtime/models/model.js";
import { networkOf } from "../../../runtime/models/network.js";
import { takeShare } from "../../../runtime/models/shares.js";
import { memoryStore } from "../../../runtime/platform/memory-store.js";
import { labIdentity } from "../../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../../runtime/platform/node.js";
import { sha256Hex } from "../../../runtime/platform/node-sha256.js";
import type { StateStore } from "../../../runtime/platform/platform.js";
import { random } from "../../../runtime/tensors/random.js";
import { readSafetensors } from "../../../runtime/tensors/safetensors.js";
import { elements } from "../../../runtime/tensors/shape.js";
import type { EvaluateJob, Trainer, TrainJob } from "../../../runtime/training/job.js";
import { mobilenetV2 } from "../../models/mobilenet-v2.js";
import { trainerHere } from "../../training/engines.js";

// Frozen and personal layers between real clients and a real aggregator: what crosses the line, what
// stays where it is, and what outlives a restart.

const CLIENTS = 3;
const WIDE = 300;
const classes = ["a", "b", "c"];

const described = (first: object, last: object = {}): ModelDescription =>
  parseDescription({
    input: [8],
    layers: [
      { type: "dense", units: WIDE, activation: "tanh", ...first },
      { type: "dense", units: 4, activation: "relu" },
      { type: "dense", units: 3, ...last },
    ],
  });
const FROZEN = described({ frozen: true });
const PERSONAL = described({ frozen: true }, { personal: true });
const modelOf = (description: ModelDescription) => initialModel({ description, classes }, "shares");

const SETTINGS: GivenSettings = {
  rounds: 3,
  gather: CLIENTS,
  clientsPerRound: CLIENTS,
  overSelection: 1,
  localEpochs: 2,
  batchSize: 8,
  learningRate: 0.1,
  normalise: "none",
  seed: "7",
};

/** Examples whose class is their largest of three inputs; each client has its own names for them. */
function dataOf(client: number, size: number) {
  const chance = random("data", client);
  const x = Float32Array.from({ length: size * 40 }, () => chance.normal());
  const y = Array.from({ length: 40 }, (_, i) => {
    const three = [...x.subarray(size * i, size * i + 3)];
    return (three.indexOf(Math.max(...three)) + client) % 3;
  });
  return { x, y };
}

const MEMORY = 500e6;
let trainer: Trainer;
/** What was trained and evaluated. */
let jobs: (TrainJob | EvaluateJob)[] = [];
before(async () => {
  const here = await trainerHere("simd");
  trainer = {
    ...here,
    train: (job, options) => (jobs.push(job), here.train(job, options)),
    evaluate: (job, options) => (jobs.push(job), here.evaluate(job, options)),
  };
});

/** A client that notes the hash of each blob that it asks for, and the bytes of its offers. */
function clientOf(index: number, url: string, store: StateStore, size: number) {
  const node = nodePlatform({ identity: labIdentity("7", index) });
  const wanted: string[] = [];
  const offered: number[] = [];
  const client = new FederatedClient(
    {
      url,
      state: "",
      data: dataOf(index, size),
      trainer,
      holdOut: 0.2,
      limits: { memoryBytes: MEMORY },
    },
    {
      ...node,
      openState: async () => ({ ...store, close: async () => {} }),
      openSocket(to, options) {
        const socket = node.openSocket(to, options);
        const send = socket.send.bind(socket);
        socket.send = (data) => {
          const message = typeof data === "string" ? JSON.parse(data) : {};
          if (message.type === "want") wanted.push(message.sha256);
          if (message.type === "offer") offered.push(message.bytes);
          send(data);
        };
        return socket;
      },
    },
  );
  return { client, wanted, offered };
}

/** Runs a federation to its end, over sockets. */
async function run(
  description: ModelDescription,
  settings: GivenSettings,
  stores = Array.from({ length: CLIENTS }, memoryStore),
) {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-shares-"));
  const model = modelOf(description);
  const size = elements(description.input);
  const aggregator = await Aggregator.open({
    model,
    folder,
    settings: { ...SETTINGS, ...settings },
  });
  const server = await listen(aggregator, { port: 0 });
  try {
    const clients = stores.map((store, i) => clientOf(i, server.url, store, size));
    const outcomes = await Promise.all(clients.map(({ client }) => client.run()));
    for (const { reason, message } of outcomes) assert.equal(reason, "finished", message);
    const ending: Ending = await aggregator.done;
    await aggregator.stop();
    const file = await readFile(join(folder, "model/weights.safetensors"));
    const evaluations = (await readFile(join(folder, "evaluations.jsonl"), "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    return { model, ending, clients, outcomes, file, evaluations };
  } finally {
    await aggregator.stop();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

test("a frozen layer is fetched once by each client, is not sent, and stays as it is", async () => {
  jobs = [];
  const { model, ending, clients, file } = await run(FROZEN, {});
  const { shares, layout } = networkOf(FROZEN);
  const after = loadModel(ending.model);
  assert.deepEqual(after.weights, loadModel(file).weights);
  assert.deepEqual(takeShare(shares.fixed, after.weights), takeShare(shares.fixed, model.weights));
  assert.notDeepEqual(
    takeShare(shares.shared, after.weights),
    takeShare(shares.shared, model.weights),
  );
  const trained = 4 * shares.shared.layout.size;
  assert.ok(trained < 4 * layout.size);
  const base = sha256Hex(writeBase(model)!);
  // By that name, and in what training leaves of the memory, its features are kept.
  assert.ok(jobs.length >= 3 * CLIENTS);
  for (const job of jobs) {
    assert.equal(job.base, base);
    if ("spare" in job) assert.ok(job.spare! > MEMORY / 2 && job.spare! < MEMORY, `${job.spare}`);
  }
  for (const { wanted, offered } of clients) {
    assert.equal(wanted.filter((hash) => hash === base).length, 1);
    assert.equal(new Set(wanted).size, 1 + 4);
    for (const bytes of offered) assert.ok(bytes > trained && bytes < trained + 1024, `${bytes}`);
  }
});

test("of a MobileNetV2 the backbone crosses the line once for each client, and updates are its head's", async () => {
  const description = mobilenetV2(32, 3);
  assert.equal(description.layers.length, 155);
  const { model, clients } = await run(description, { rounds: 2 });
  const { shared, fixed } = networkOf(description).shares;
  const head = 1280 * 256 + 256 + 256 * 64 + 64 + 64 * 3 + 3;
  assert.equal(shared.layout.size, head);
  // Keras counts as many parameters without a head: 2,257,984; here a convolution has a bias.
  assert.equal(fixed.layout.size, 2_257_984 + 17_056);
  const base = sha256Hex(writeBase(model)!);
  for (const { wanted, offered } of clients) {
    assert.equal(wanted.filter((hash) => hash === base).length, 1);
    assert.equal(offered.length, 2);
    for (const bytes of offered) assert.ok(bytes > 4 * head && bytes < 4 * head + 1024, `${bytes}`);
  }
});

test("a client that is started again has the base from before", async () => {
  const stores = Array.from({ length: CLIENTS }, memoryStore);
  const first = await run(FROZEN, { rounds: 1 }, stores);
  const second = await run(FROZEN, { rounds: 1, seed: "8" }, stores);
  const base = sha256Hex(writeBase(first.model)!);
  for (const { wanted } of first.clients) assert.ok(wanted.includes(base));
  for (const { wanted } of second.clients) assert.ok(!wanted.includes(base));
});

for (const { name } of BUILT_IN)
  test(`${name} trains what is shared, over sockets, beside frozen and personal layers`, async () => {
    const { model, ending } = await run(PERSONAL, {
      algorithm: name,
      rounds: 2,
      learningRate: 0.05,
    });
    const { shares } = networkOf(PERSONAL);
    const after = loadModel(ending.model);
    assert.deepEqual(
      takeShare(shares.fixed, after.weights),
      takeShare(shares.fixed, model.weights),
    );
    assert.notDeepEqual(
      takeShare(shares.shared, after.weights),
      takeShare(shares.shared, model.weights),
    );
  });

test("personal layers are each client's own, and its predictions and evaluations are by them", async () => {
  const settings = { rounds: 12, localEpochs: 5 };
  const personal = await run(PERSONAL, settings);
  const global = await run(FROZEN, settings);
  const accuracy = ({ evaluations }: typeof personal): number =>
    evaluations.at(-1).federated.accuracy;
  // One model cannot give the same inputs three names.
  assert.ok(accuracy(personal) > 0.6, `${accuracy(personal)}`);
  assert.ok(accuracy(global) < 0.5, `${accuracy(global)}`);
  const { shares } = networkOf(PERSONAL);
  const own = personal.outcomes.map(({ model }) => takeShare(shares.personal, model!.weights));
  assert.notDeepEqual(own[0], own[1]);
  assert.notDeepEqual(own[0], takeShare(shares.personal, personal.model.weights));
});

test("a client's personal layers are on its disk, beside the algorithm's state", async () => {
  const stores = Array.from({ length: CLIENTS }, memoryStore);
  const { outcomes } = await run(PERSONAL, { algorithm: "scaffold" }, stores);
  const { shares } = networkOf(PERSONAL);
  for (const [i, store] of stores.entries()) {
    const [name] = (await store.list()).filter((one) => one.startsWith("state."));
    const { tensors } = readSafetensors((await store.get(name))!);
    assert.deepEqual(
      [...tensors.keys()],
      ["control/1.kernel", "control/1.bias", "personal/2.kernel", "personal/2.bias"],
    );
    const own = takeShare(shares.personal, outcomes[i].model!.weights);
    assert.deepEqual(tensors.get("personal/2.kernel")!.data, own.subarray(0, 12));
  }
});
