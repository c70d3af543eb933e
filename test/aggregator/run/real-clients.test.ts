import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import {
  Aggregator,
  type AggregatorOptions,
  type Ending,
} from "../../../aggregator/run/aggregator.js";
import type { RoundRecord } from "../../../aggregator/run/round-record.js";
import { stateFolder } from "../../../aggregator/storage/run-folder.js";
import { listen } from "../../../aggregator/server/server.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { fileLedger } from "../../../aggregator/storage/files.js";
import { FederatedClient, type ClientData } from "../../../runtime/client.js";
import { parseDescription } from "../../../runtime/models/description.js";
import { initialWeights } from "../../../runtime/models/initial.js";
import { loadModel, type Model } from "../../../runtime/models/model.js";
import { networkOf } from "../../../runtime/models/network.js";
import { random } from "../../../runtime/tensors/random.js";
import { memoryLine } from "../../../runtime/platform/memory-line.js";
import { memoryStore } from "../../../runtime/platform/memory-store.js";
import { labIdentity } from "../../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../../runtime/platform/node.js";
import type { Platform, StateStore } from "../../../runtime/platform/platform.js";
import type { Trainer } from "../../../runtime/training/job.js";
import { trainerHere } from "../../training/engines.js";
import { slowly } from "../../until.js";

const CLIENTS = 5;
const description = parseDescription({
  input: [8],
  layers: [
    { type: "dense", units: 12, activation: "relu" },
    { type: "dense", units: 3 },
  ],
});
const network = networkOf(description);
const model: Model = {
  description,
  layout: network.layout,
  weights: initialWeights(network, "real clients"),
  classes: ["a", "b", "c"],
};

/**
 * Examples whose class is their largest of the first three inputs; clients hold between 20 and 60.
 */
function dataOf(client: number): ClientData {
  const chance = random("data", client);
  const count = 20 + 10 * client;
  const x = Float32Array.from({ length: 8 * count }, () => chance.normal());
  const y = Array.from({ length: count }, (_, i) => {
    const [a, b, c] = x.subarray(8 * i);
    return a >= b && a >= c ? 0 : b >= c ? 1 : 2;
  });
  return { x, y };
}

/**
 * One trainer for all clients: one job at a time, each begun after a wait of its own, so that
 * clients finish in any order.
 */
function trainerAfter(wait: (job: number) => number): Trainer {
  let jobs = 0;
  let queue: Promise<unknown> = Promise.resolve();
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    await slowly(wait(jobs++));
    const done = queue.then(work);
    queue = done.catch(() => {});
    return done;
  };
  return {
    ...engine,
    train: (job, options) => inTurn(() => engine.train(job, options)),
    evaluate: (job, options) => inTurn(() => engine.evaluate(job, options)),
  };
}

let engine: Trainer;
let trainer: Trainer;
before(async () => {
  engine = await trainerHere("simd");
  trainer = trainerAfter(() => 0);
});

const SETTINGS: GivenSettings = {
  rounds: 3,
  gather: CLIENTS,
  clientsPerRound: 3,
  overSelection: 1,
  localEpochs: 2,
  batchSize: 8,
  seed: "7",
};

interface Run {
  readonly ending: Ending;
  readonly files: Record<string, string>;
}

/** Runs a federation to its end and reads its folder. */
async function run(
  settings: GivenSettings,
  how: { readonly sockets: boolean; readonly trainer: Trainer },
  options: Partial<AggregatorOptions> = {},
): Promise<Run> {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-run-"));
  const aggregator = await Aggregator.open({
    model,
    folder,
    ...options,
    settings: { ...SETTINGS, ...settings },
  });
  try {
    const server = how.sockets ? await listen(aggregator, { port: 0 }) : undefined;
    const clients = Array.from({ length: CLIENTS }, (_, i) =>
      clientOf(aggregator, how.sockets ? i : CLIENTS - 1 - i, how.trainer, server?.url),
    );
    const outcomes = await Promise.all(clients.map((client) => client.run()));
    for (const { reason, message } of outcomes) assert.equal(reason, "finished", message);
    const ending = await aggregator.done;
    await aggregator.stop();
    await server?.close();
    const files: Record<string, string> = {};
    for (const name of ["rounds.jsonl", "evaluations.jsonl"])
      files[name] = await readFile(join(folder, name), "utf8");
    assert.deepEqual((await readdir(folder)).sort(), [
      "config.json",
      "evaluations.jsonl",
      "model",
      "rounds.jsonl",
      "state",
      "statistics.json",
      "summary.md",
      "timings.jsonl",
    ]);
    assert.match(await readFile(join(folder, "summary.md"), "utf8"), /- All rounds are done\./);
    const weights = await readFile(join(folder, "model/weights.safetensors"));
    assert.deepEqual(loadModel(weights).classes, model.classes);
    assert.deepEqual([...loadModel(weights).weights], [...loadModel(ending.model).weights]);
    return { ending, files };
  } finally {
    await aggregator.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function clientOf(
  aggregator: Aggregator,
  index: number,
  trainer: Trainer,
  url: string | undefined,
  store: StateStore = memoryStore(),
): FederatedClient {
  const node = nodePlatform({ identity: labIdentity("7", index) });
  const platform: Platform = {
    ...node,
    openState: async () => store,
    ...(url === undefined && {
      openSocket() {
        const [here, there] = memoryLine();
        queueMicrotask(() => aggregator.attach(there, { host: "simulation", address: "memory" }));
        return here;
      },
    }),
  };
  return new FederatedClient(
    { url: url ?? "ws://simulation", state: "", data: dataOf(index), trainer },
    platform,
  );
}

test("real clients learn, and the run's folder says how", async () => {
  const { ending, files } = await run(
    { rounds: 8, clientsPerRound: 5, learningRate: 0.2 },
    { sockets: true, trainer },
  );
  assert.deepEqual([ending.reason, ending.rounds], ["finished", 8]);
  const rounds = files["rounds.jsonl"]
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    rounds.map(({ round }) => round),
    [1, 2, 3, 4, 5, 6, 7, 8],
  );
  assert.ok(rounds[7].lossAfter < rounds[0].lossBefore / 2);
  assert.equal(rounds[0].participants.length, CLIENTS);
  assert.equal(rounds[0].activationNorms.length, 1);
  const evaluations = files["evaluations.jsonl"]
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(evaluations.length, 8);
  assert.equal(evaluations[7].federated.clients, CLIENTS);
  assert.ok(evaluations[7].federated.accuracy > 0.6);
});

test("the same seed gives the same bytes, in memory and over sockets, whoever is first", async () => {
  const inMemory = await run({}, { sockets: false, trainer });
  const overSockets = await run(
    {},
    { sockets: true, trainer: trainerAfter((job) => 5 + 17 * ((job * 7) % 5)) },
  );
  assert.deepEqual(overSockets.files, inMemory.files);
  assert.deepEqual(overSockets.ending.model, inMemory.ending.model);
  assert.equal(inMemory.files["rounds.jsonl"].trim().split("\n").length, 3);
  const other = await run({ seed: "8" }, { sockets: false, trainer });
  assert.notDeepEqual(other.files, inMemory.files);
});

for (const algorithm of ["feddyn", "scaffold", "feddc", "fedsam+fedadam"])
  test(`${algorithm}: state and what is broadcast go their way, over sockets as in memory`, async () => {
    const settings = { algorithm, rounds: 3, learningRate: 0.05 };
    const inMemory = await run(settings, { sockets: false, trainer });
    const overSockets = await run(settings, {
      sockets: true,
      trainer: trainerAfter((job) => 11 * ((job * 3) % 4)),
    });
    assert.deepEqual(overSockets.files, inMemory.files);
  });

test("a run stopped in the middle of each round, and resumed, ends with the model of one that was not", async () => {
  const settings = { ...SETTINGS, rounds: 3, evaluateFraction: 0 };
  const whole = await run(settings, { sockets: false, trainer });
  const folder = await mkdtemp(join(tmpdir(), "fedflat-run-"));
  const stores = Array.from({ length: CLIENTS }, memoryStore);
  try {
    for (let life = 1; ; life++) {
      assert.ok(life <= 4);
      const aggregator = await Aggregator.open({
        model,
        folder,
        resume: life > 1,
        settings,
      });
      const clients = stores.map((store, i) =>
        clientOf(
          aggregator,
          i,
          trainerAfter(() => 20),
          undefined,
          store,
        ),
      );
      // Stopped when the fourth update of this life is in, one after a round of three, or at the
      // end.
      const updates = new Promise<void>((resolve) => {
        let counted = 0;
        aggregator.on("counted", () => ++counted === 4 && resolve());
      });
      const running = clients.map((client) => client.run());
      await Promise.race([updates, aggregator.done]);
      await aggregator.stop();
      await Promise.all(clients.map((client) => client.stop({ force: true })));
      await Promise.all(running);
      if (aggregator.status().committed < 3) continue;
      const lines = await readFile(join(folder, "rounds.jsonl"), "utf8");
      assert.equal(lines, whole.files["rounds.jsonl"]);
      assert.deepEqual(new Uint8Array(aggregator.model.bytes), new Uint8Array(whole.ending.model));
      break;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("buffered rounds: real clients learn, a slow one's updates are stale, and a server that is started again goes on with those at work", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-run-"));
  const settings: GivenSettings = {
    ...SETTINGS,
    clientsPerRound: undefined,
    mode: "buffered",
    rounds: 16,
    buffer: 2,
    concurrency: CLIENTS,
    learningRate: 0.2,
    evaluateFraction: 0,
  };
  const lines: RoundRecord[] = [];
  const open = async (resume: boolean, port: number) => {
    const aggregator = await Aggregator.open({ model, folder, resume, settings });
    aggregator.on("round", (line) => lines.push(line));
    return { aggregator, server: await listen(aggregator, { port }) };
  };
  let life = await open(false, 0);
  const port = Number(new URL(life.server.url).port);
  // The first of them is the slow one.
  const clients = Array.from({ length: CLIENTS }, (_, i) =>
    clientOf(
      life.aggregator,
      i,
      trainerAfter(() => (i === 0 ? 300 : 10 + 10 * i)),
      life.server.url,
    ),
  );
  const settled: string[] = [];
  for (const client of clients)
    client.on("assignment", ({ what, assignment }) => {
      if (what === "committed") settled.push(assignment);
    });
  try {
    const running = clients.map((client) => client.run());
    await new Promise<void>((resolve) =>
      life.aggregator.on("round", ({ round }) => round === 6 && resolve()),
    );
    await life.aggregator.stop();
    await life.server.close();
    life = await open(true, port);
    for (const { reason, message } of await Promise.all(running))
      assert.equal(reason, "finished", message);
    await life.aggregator.stop();
    await life.server.close();
    assert.deepEqual(
      lines.map(({ round }) => round),
      Array.from({ length: 16 }, (_, i) => i + 1),
    );
    assert.ok(lines.some(({ staleness }) => staleness > 0));
    const before = lines[0].lossBefore!;
    const lossAfter = lines[15].lossAfter!;
    assert.ok(lossAfter < before / 2, `${before} to ${lossAfter}`);
    // What clients were told is what the journal has, once.
    const ledger = fileLedger(stateFolder(folder));
    const none = { sha256: "", bytes: new Uint8Array() };
    const { history } = await ledger.open({ model: none, state: none });
    await ledger.close();
    const counted = history.flatMap(({ members }) => members.map(({ assignment }) => assignment));
    assert.equal(new Set(counted).size, counted.length);
    assert.deepEqual(
      settled.filter((id) => !counted.includes(id)),
      [],
    );
  } finally {
    await Promise.all(clients.map((client) => client.stop({ force: true })));
    await life.aggregator.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
