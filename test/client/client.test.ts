import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { algorithmNamed } from "../../runtime/algorithms/built-in.js";
import type { State } from "../../runtime/algorithms/algorithm.js";
import {
  FederatedClient as AnyClient,
  type ClientEvents,
  type ClientOptions,
  type Prediction,
} from "../../runtime/client.js";
import { CODECS } from "../../runtime/codecs/built-in.js";
import { FedflatError } from "../../runtime/errors.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { loadModel, writeModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { FederatedClient } from "../../runtime/node.js";
import { readBlob } from "../../runtime/tensors/blob.js";
import { random } from "../../runtime/tensors/random.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { WorkerPort } from "../../runtime/platform/platform.js";
import { clientId, labIdentity } from "../../runtime/platform/node-identity.js";
import type { ClientMessageOf } from "../../runtime/protocol/client-messages.js";
import type { OutgoingServerMessage } from "../../runtime/protocol/server-messages.js";
import { holdOut } from "../../runtime/training/batches.js";
import type { Trainer } from "../../runtime/training/job.js";
import { trainRound } from "../../runtime/training/train-round.js";
import {
  scriptedServer,
  type ScriptedServer,
  type ServerLine,
} from "../connection/scripted-server.js";
import { trainerHere } from "../training/engines.js";

const description = parseDescription({
  input: [6],
  layers: [
    { type: "dense", units: 5, activation: "relu" },
    { type: "dense", units: 3 },
  ],
});
const network = networkOf(description);
const classes = ["low", "middle", "high"];
const modelOf = (seed: string) =>
  writeModel({
    description,
    layout: network.layout,
    weights: initialWeights(network, seed),
    normalisation: { scale: 2, mean: [0.1], deviation: [0.7] },
    classes,
  });
const blobOf = (bytes: Uint8Array) => ({
  sha256: createHash("sha256").update(bytes).digest("hex"),
  bytes: bytes.length,
});
const first = modelOf("first");

const chance = random("client test");
const data = {
  x: Float32Array.from({ length: 6 * 40 }, () => chance.normal()),
  y: Array.from({ length: 40 }, () => chance.integer(3)),
};
const identity = labIdentity("client test", 0);
const { train, test: heldOut } = holdOut(
  {
    dataset: {
      shape: [6],
      inputs: data.x,
      labels: Int32Array.from(data.y),
      classes,
    },
    rows: Uint32Array.from(data.y, (_, i) => i),
  },
  0.1,
  clientId(identity),
);

const settings = {
  algorithm: "fedavg",
  algorithmSettings: {},
  localEpochs: 2,
  batchSize: 8,
  learningRate: 0.1,
  initialLearningRate: 0.1,
  weightDecay: 0.001,
  clipNorm: 10,
  zeta: 0.15,
  manIncludesLogits: false,
  shuffle: true,
  population: 4,
  meanSamples: 30,
  seed: "a seed",
};
let number = 0;
const assignOf = (changes: Partial<Extract<OutgoingServerMessage, { type: "assign" }>> = {}) => ({
  type: "assign" as const,
  assignment: (++number).toString(16).padStart(32, "0"),
  round: 1,
  attempt: 1,
  phase: "train",
  task: "train",
  model: blobOf(first),
  codec: "float32",
  settings,
  deadline: 60_000,
  ...changes,
});

let trainer: Trainer;
before(async () => {
  trainer = await trainerHere("simd");
});

// Removed at the very end, when no client writes there any more.
const folders: string[] = [];
after(async () => {
  for (const folder of folders) await fs.rm(folder, { recursive: true, force: true });
});

async function stateFolder(): Promise<string> {
  const path = await fs.mkdtemp(join(tmpdir(), "fedflat-client-"));
  folders.push(path);
  return path;
}

interface Started {
  readonly client: FederatedClient;
  readonly running: Promise<Awaited<ReturnType<FederatedClient["run"]>>>;
  readonly events: ClientEvents["assignment"][];
  readonly problems: Error[];
}

async function start(
  server: ScriptedServer,
  changes: Partial<ClientOptions> = {},
): Promise<Started> {
  const client = new FederatedClient({
    url: server.url,
    state: changes.state ?? (await stateFolder()),
    data,
    identity,
    trainer,
    ...changes,
  });
  const events: ClientEvents["assignment"][] = [];
  const problems: Error[] = [];
  client.on("assignment", (event) => events.push(event));
  client.on("problem", (error) => problems.push(error));
  const running = client.run();
  after(async () => {
    await client.stop();
    await server.close();
  });
  return { client, running, events, problems };
}

/** Answers the client's next `want` with this model. */
async function serveModel(line: ServerLine, bytes: Uint8Array): Promise<void> {
  const { transfer, offset, sha256 } = await line.next("want");
  assert.equal(sha256, blobOf(bytes).sha256);
  line.chunk(transfer, offset, bytes.subarray(offset));
  await line.next("ack");
}

/** Takes the update of an offer, whole. */
async function takeUpdate(line: ServerLine, offer: ClientMessageOf<"offer">): Promise<Uint8Array> {
  const { assignment, bytes } = offer;
  line.send({
    type: "grant",
    assignment,
    transfer: 2 * ++number,
    offset: 0,
    window: bytes,
  });
  const update = new Uint8Array(bytes);
  for (let held = 0; held < bytes;) {
    const chunk = await line.nextChunk();
    update.set(chunk.bytes, chunk.offset);
    held += chunk.bytes.length;
  }
  assert.equal(blobOf(update).sha256, offer.sha256);
  return update;
}

/** What the client should send, computed without client, connection or store. */
const expected = (algorithm: string, state: State = {}, weights = loadModel(first).weights) =>
  trainRound(trainer, {
    description,
    weights,
    normalisation: loadModel(first).normalisation,
    algorithm: algorithmNamed(algorithm),
    settings: { ...settings, algorithm },
    part: train,
    state,
  });

test("one round: model here, update there, committed, and the new model to predict with", async () => {
  const server = await scriptedServer();
  const { client, running, events } = await start(server);
  const models: string[] = [];
  client.on("model", ({ sha256 }) => models.push(sha256));
  const progress: number[] = [];
  client.on("progress", ({ round, batches }) => progress.push(round, batches));
  const batchesDone: number[] = [];
  client.on("progress", ({ batch }) => batchesDone.push(batch));
  await assert.rejects(client.predict(data.x), { code: "no-model" });
  const { line, hello } = await server.welcomed();
  assert.equal(hello.samples, train.rows.length);
  assert.deepEqual(hello.capabilities.codecs, Object.keys(CODECS));
  await line.next("ready");

  const assign = assignOf();
  line.send(assign);
  assert.equal((await line.next("accept")).assignment, assign.assignment);
  await serveModel(line, first);
  const offer = await line.next("offer");
  assert.equal(offer.samples, train.rows.length);
  const update = await takeUpdate(line, offer);
  const reference = await expected("fedavg");
  assert.deepEqual(readBlob(update, network.layout, ["delta"])["delta"], reference.delta);
  const { seconds: _, ...metrics } = offer.metrics;
  const { seconds: __, samples: ___, ...measured } = reference.metrics;
  assert.deepEqual(metrics, measured);
  assert.deepEqual(new Set(progress), new Set([1, 10]));
  assert.equal(batchesDone.at(-1), 10, "the last batch is told, however fast the round was");

  const second = modelOf("second");
  line.send({ type: "received", assignment: assign.assignment });
  line.send({
    type: "committed",
    assignment: assign.assignment,
    round: 1,
    model: blobOf(second),
  });
  await serveModel(line, second);
  line.send({ type: "finished", reason: "one round", model: blobOf(second) });
  await line.next("bye");
  const outcome = await running;
  assert.equal(outcome.reason, "finished");
  assert.equal(outcome.model?.round, 1);
  assert.deepEqual(outcome.model?.weights, loadModel(second).weights);
  assert.deepEqual(models, [blobOf(second).sha256]);
  assert.deepEqual(
    events.map(({ what }) => what),
    ["accepted", "offered", "received", "committed"],
  );
  const predictions = await client.predict([[...data.x.subarray(0, 6)]]);
  assert.equal(predictions.length, 1);
  const [made] = predictions;
  assert.ok(made.task === "classes");
  assert.equal(made.name, classes[made.label]);
  assert.ok(Math.abs(made.probabilities.reduce((a, b) => a + b) - 1) < 1e-6);
});

test("the algorithm's state moves when its update is committed, and only then", async () => {
  const server = await scriptedServer();
  const state = await stateFolder();
  const started = await start(server, { state });
  const { line } = await server.welcomed();
  const feddyn = { ...settings, algorithm: "feddyn" };
  const round = async (line: ServerLine, end: (assignment: string) => void, model?: Uint8Array) => {
    const assign = assignOf({ settings: feddyn });
    line.send(assign);
    if (model) await serveModel(line, model);
    const update = await takeUpdate(line, await line.next("offer"));
    line.send({ type: "received", assignment: assign.assignment });
    end(assign.assignment);
    return readBlob(update, network.layout, ["delta"])["delta"];
  };
  const zero = await expected("feddyn");
  assert.deepEqual(
    await round(
      line,
      (assignment) => line.send({ type: "refused", assignment, code: "late" }),
      first,
    ),
    zero.delta,
  );
  const commit = (line: ServerLine) => (assignment: string) =>
    line.send({
      type: "committed",
      assignment,
      round: 1,
      model: blobOf(first),
    });
  assert.deepEqual(await round(line, commit(line)), zero.delta);
  const once = await expected("feddyn", zero.state);
  assert.notDeepEqual(once.delta, zero.delta);
  assert.deepEqual(await round(line, commit(line)), once.delta);
  line.send({ type: "ping" });
  await line.next("pong");

  // The same after a restart.
  await started.client.stop();
  assert.equal((await started.running).reason, "stopped");
  const files = await fs.readdir(state);
  assert.equal(files.filter((name) => name.startsWith("state.")).length, 1);
  assert.equal(files.filter((name) => name.startsWith("update.")).length, 0);
  const { client } = await start(server, { state });
  const again = await server.line();
  const { counted } = await again.next("hello");
  assert.equal(counted?.round, 1);
  await client.stop();

  // A damaged state is a lost one, and hello says so.
  const name = files.find((name) => name.startsWith("state."))!;
  await fs.truncate(join(state, name), 100);
  const third = await start(server, { state });
  const last = await server.welcomed();
  assert.equal(last.hello.counted, null);
  assert.deepEqual(await round(last.line, commit(last.line), first), zero.delta);
  await third.client.stop();
});

test("a finished update outlives the process, and is offered until it is settled", async () => {
  const server = await scriptedServer();
  const state = await stateFolder();
  const before = await start(server, { state });
  const one = await server.welcomed();
  const assign = assignOf();
  one.line.send(assign);
  await serveModel(one.line, first);
  const offer = await one.line.next("offer");
  await before.client.stop();

  const after = await start(server, { state });
  const two = await server.welcomed();
  assert.equal(two.hello.run, server.run);
  assert.deepEqual(two.hello.pending, [{ assignment: assign.assignment, sha256: offer.sha256 }]);
  assert.deepEqual(await two.line.next("offer"), offer);
  await takeUpdate(two.line, offer);
  // Offered again after a broken line; and an assignment that comes again is not trained again.
  two.line.socket.terminate();
  const three = await server.welcomed();
  assert.deepEqual(await three.line.next("offer"), offer);
  three.line.send(assign);
  assert.deepEqual(await three.line.next("offer"), offer);
  three.line.socket.terminate();

  // The commit that it missed is told by welcome.
  const lastCounted = {
    round: 1,
    assignment: assign.assignment,
    sha256: offer.sha256,
  };
  const four = await server.welcomed({ lastCounted });
  await four.line.next("ready");
  four.line.socket.terminate();
  const five = await server.welcomed({ lastCounted });
  assert.deepEqual(five.hello.counted, lastCounted);
  assert.deepEqual(five.hello.pending, []);
  assert.deepEqual(
    after.events.map(({ what }) => what),
    ["committed"],
  );
});

test("a line that breaks while the client trains does not cost the round", async () => {
  const server = await scriptedServer();
  let finish = () => {};
  const gate = new Promise<void>((resolve) => (finish = resolve));
  await start(server, {
    trainer: {
      ...trainer,
      train: (job, options) => gate.then(() => trainer.train(job, options)),
    },
  });
  const one = await server.welcomed();
  const assign = assignOf();
  one.line.send(assign);
  await serveModel(one.line, first);
  one.line.socket.terminate();
  const two = await server.welcomed();
  assert.deepEqual(two.hello.pending, [{ assignment: assign.assignment, sha256: null }]);
  two.line.send(assign);
  await two.line.next("accept");
  finish();
  await takeUpdate(two.line, await two.line.next("offer"));
});

test("a commit that cannot be written is not passed over: the line is given up until it can", async () => {
  const server = await scriptedServer();
  after(() => server.close());
  const store = memoryStore();
  let full = false;
  const platform = {
    ...nodePlatform({ identity }),
    openState: async () => ({
      ...store,
      put: (name: string, bytes: Uint8Array) =>
        full ? Promise.reject(new Error("disk full")) : store.put(name, bytes),
    }),
  };
  const begin = () => {
    const client = new AnyClient({ url: server.url, state: "", data, trainer }, platform);
    const problems: string[] = [];
    client.on("problem", ({ message }) => problems.push(message));
    const running = client.run();
    return { client, problems, running };
  };
  const one = begin();
  const { line } = await server.welcomed();
  const assign = assignOf({ settings: { ...settings, algorithm: "feddyn" } });
  line.send(assign);
  await serveModel(line, first);
  const { assignment, sha256 } = await line.next("offer");
  full = true;
  line.send({ type: "committed", assignment, round: 1, model: blobOf(first) });
  await line.closed;
  assert.deepEqual(one.problems, ["disk full"]);
  await one.client.stop();

  full = false;
  const two = begin();
  const lastCounted = { round: 1, assignment, sha256 };
  const again = await server.welcomed({ lastCounted });
  assert.deepEqual(again.hello.pending, [{ assignment, sha256 }]);
  await again.line.next("ready");
  await two.client.stop();
  const names = await store.list();
  assert.ok(names.includes(`state.${assignment}`), names.join());
  assert.ok(!names.includes(`update.${assignment}`), names.join());
});

/** A trainer that stops for ever before batch `cut` + 1, like a process that is killed there. */
const killedAt = (every: Trainer, cut: number): Trainer => ({
  ...every,
  train: (job, options) =>
    every.train(job, {
      ...options,
      onSnapshot: async (snapshot) => {
        const { batch } = snapshot;
        await options?.onSnapshot?.(snapshot);
        if (batch !== cut) return;
        if (!options?.signal?.aborted) await once(options!.signal!, "abort");
        throw new FedflatError("cancelled", "killed");
      },
    }),
});

for (const [what, changes, dropped] of [
  ["the same work goes on", {}, undefined],
  ["other data", { y: data.y.map((y) => 2 - y) }, "data"],
  ["another state of the disk", { damaged: true }, "damaged"],
  ["settings that changed", { seed: "another seed" }, "settings"],
] as const)
  test(`a half-trained round after a restart: ${what}`, async () => {
    const server = await scriptedServer();
    const every = await trainerHere("simd", { snapshots: true });
    const state = await stateFolder();
    const file = join(state, "half-trained");
    const before = await start(server, { state, trainer: killedAt(every, 7) });
    const one = await server.welcomed();
    const progress = new Promise<void>((resolve) =>
      before.client.on("progress", ({ batch }) => batch === 7 && resolve()),
    );
    const assign = assignOf();
    one.line.send(assign);
    await serveModel(one.line, first);
    await progress;
    // The line is gone first, so that nothing can be said.
    one.line.socket.terminate();
    await before.client.stop({ force: true });
    assert.ok((await fs.stat(file)).size > 0);
    if ("damaged" in changes) await fs.truncate(file, 100);

    const batches: number[] = [];
    const y = "y" in changes ? changes.y : data.y;
    const again = await start(server, {
      state,
      trainer: every,
      data: () => ({ x: data.x, y }),
    });
    again.client.on("progress", ({ batch }) => batches.push(batch));
    const two = await server.welcomed();
    const seed = "seed" in changes ? changes.seed : settings.seed;
    two.line.send({ ...assign, settings: { ...settings, seed } });
    await serveModel(two.line, first);
    const update = await takeUpdate(two.line, await two.line.next("offer"));
    const [, event, ...rest] = again.events.map(({ what, code }) => [what, code]);
    assert.deepEqual(event, dropped === undefined ? ["resumed", undefined] : ["dropped", dropped]);
    assert.deepEqual(rest, [["offered", undefined]]);
    assert.equal(batches[0], dropped === undefined ? 8 : 1);
    if (dropped === undefined || dropped === "damaged")
      assert.deepEqual(
        readBlob(update, network.layout, ["delta"])["delta"],
        (await expected("fedavg")).delta,
      );
    await again.client.stop();
    assert.ok(!(await fs.readdir(state)).includes("half-trained"));
  });

test("a half-trained round goes with its assignment, and a full disk costs only the snapshot", async () => {
  const server = await scriptedServer();
  after(() => server.close());
  const every = await trainerHere("simd", { snapshots: true });
  const store = memoryStore();
  let room: "any" | "no snapshot" | "one of both" = "any";
  const put = async (name: string, bytes: Uint8Array) => {
    const other = await store.get("half-trained");
    if (
      (room === "no snapshot" && name === "half-trained") ||
      (room === "one of both" && name.startsWith("update.") && other)
    )
      throw new Error("disk full");
    return store.put(name, bytes);
  };
  let removed = () => {};
  const remove = async (name: string) => {
    await store.delete(name);
    if (name === "half-trained") removed();
  };
  const client = new AnyClient(
    { url: server.url, state: "", data, trainer: killedAt(every, 9) },
    {
      ...nodePlatform({ identity }),
      openState: async () => ({ ...store, put, delete: remove }),
    },
  );
  const problems: string[] = [];
  client.on("problem", ({ message }) => problems.push(message));
  const running = client.run();
  after(() => client.stop());
  const { line } = await server.welcomed();
  const kept = async () => (await store.list()).includes("half-trained");

  const late = assignOf({ settings: { ...settings, localEpochs: 10 } });
  const progress = new Promise<void>((resolve) =>
    client.on("progress", ({ batch }) => batch === 9 && resolve()),
  );
  line.send(late);
  await serveModel(line, first);
  await progress;
  assert.ok(await kept());
  const gone = new Promise<void>((resolve) => (removed = resolve));
  line.send({ type: "refused", assignment: late.assignment, code: "late" });
  await gone;
  assert.ok(!(await kept()));

  // Shorter than where the trainer stops.
  const short = { ...settings, localEpochs: 1 };
  for (const now of ["no snapshot", "one of both", "any"] as const) {
    room = now;
    line.send(assignOf({ settings: short }));
    await takeUpdate(line, await line.next("offer"));
    assert.ok(!(await kept()), now);
  }
  assert.deepEqual(problems, ["cannot save the half-trained round: disk full; training continues"]);
  await client.stop();
  await running;
});

test("what the device cannot or may not do is declined by name", async () => {
  const server = await scriptedServer();
  let available: true | string = true;
  const { problems } = await start(server, {
    limits: { modelBytes: 10_000, memoryBytes: 8_000_000 },
    available: () => available,
    data: ({ round }) => {
      if (round === 7) throw new Error("the sensor is off");
      return round === 8 ? { x: new Float32Array(5), y: [0] } : data;
    },
  });
  const { line, hello } = await server.welcomed();
  assert.equal(hello.samples, null);
  const declined = async (
    code: string,
    changes: Parameters<typeof assignOf>[0],
    model?: Uint8Array,
  ) => {
    line.send(assignOf(changes));
    if (model) await serveModel(line, model);
    const { code: got, message } = await line.next("decline");
    assert.equal(got, code, message ?? "");
    assert.ok(message);
  };
  await declined("task", { task: "secure-sum" });
  await declined("codec", { codec: "int2" });
  await declined("algorithm", {
    settings: { ...settings, algorithm: "fedmagic" },
  });
  await declined("settings", { settings: { ...settings, momentum: 0.9 } });
  await declined("settings", { settings: {} });
  await declined("model-bytes", {
    model: { sha256: "00".repeat(32), bytes: 10_001 },
  });
  await declined("data", { round: 7 }, first);
  await declined("data", { round: 8 });
  await declined("memory", {
    settings: { ...settings, batchSize: 65_536, localEpochs: 10_000 },
  });
  available = "on battery";
  await declined("busy", {});
  assert.deepEqual(problems, []);
});

test("examples that do not fit the model are said before any work, and the client is busy", async () => {
  const server = await scriptedServer();
  const { problems, events } = await start(server, {
    data: { ...data, y: data.y.map((label) => ["low", "middle", "huge"][label]) },
  });
  const { line } = await server.welcomed({ model: blobOf(first) });
  // The model's beginning tells; the rest is not asked for.
  const { transfer, window } = await line.next("want");
  assert.equal(window, 16 * 1024);
  line.chunk(transfer, 0, first.subarray(0, 1000));
  const { reason } = await line.next("busy");
  assert.match(
    reason,
    /^"data" label of example \d+ expected one of the class names .* got "huge"$/,
  );
  assert.deepEqual(
    problems.map(({ message }) => message),
    [reason],
  );
  line.send(assignOf());
  assert.equal((await line.next("decline")).code, "data");
  assert.equal(events.at(-1)!.message, reason);
});

test("examples that fit are ready, and are looked at once for all lines", async () => {
  const server = await scriptedServer();
  const notices: string[] = [];
  const { client, problems } = await start(server, {
    data: { ...data, x: data.x.map((value) => 100 * value) },
  });
  client.on("notice", ({ message }) => notices.push(message));
  const plain = writeModel({ ...loadModel(first), normalisation: undefined });
  const { line } = await server.welcomed({ model: blobOf(plain), round: 2 });
  const { transfer } = await line.next("want");
  line.chunk(transfer, 0, plain.subarray(0, 1000));
  await line.next("ready");
  assert.equal(notices.length, 1);
  assert.match(
    notices[0],
    /^Inputs are far from unit scale \(channel \d: mean .* no normalisation/,
  );
  line.socket.terminate();
  const again = await server.welcomed({ model: blobOf(plain), round: 2 });
  assert.equal((await again.line.next("ready", "want")).type, "ready");
  assert.deepEqual(problems, []);
  assert.equal(notices.length, 1);
});

test("statistics are those of the examples to train on, the same each time", async () => {
  const server = await scriptedServer();
  const notices: string[] = [];
  const { client, events } = await start(server, {
    data: { ...data, x: data.x.map((value) => 1000 + 3 * value) },
  });
  client.on("notice", ({ message }) => notices.push(message));
  const plain = writeModel({ ...loadModel(first), normalisation: undefined });
  const { line } = await server.welcomed({ model: blobOf(plain) });
  const serveHeader = async () =>
    line.chunk((await line.next("want")).transfer, 0, plain.subarray(0, 1000));
  await serveHeader();
  await line.next("ready");
  assert.deepEqual(notices, [], "the inputs may be about to be normalised");
  const ask = async () => {
    const task = { task: "statistics", phase: "statistics", model: blobOf(plain) };
    const assign = assignOf({ ...task, settings: { shape: [6], scale: 2, targets: 0 } });
    line.send(assign);
    await line.next("accept");
    await serveHeader();
    const { assignment, evaluation, statistics } = await line.next("report");
    assert.equal(assignment, assign.assignment);
    assert.equal(evaluation, null);
    line.send({ type: "received", assignment });
    return statistics!;
  };
  const { count, mean, deviation } = await ask();
  assert.equal(count, train.rows.length);
  for (let column = 0; column < 6; column++) {
    const values = [...train.rows].map(
      (row) => Math.fround(1000 + 3 * data.x[6 * row + column]) / 2,
    );
    const average = values.reduce((a, b) => a + b) / count;
    const variance = values.reduce((sum, x) => sum + (x - average) ** 2, 0) / count;
    assert.ok(Math.abs(mean[column] - average) < 1e-9 * average);
    assert.ok(Math.abs(deviation[column] - Math.sqrt(variance)) < 1e-9);
  }
  const again = await ask();
  assert.deepEqual([again.count, again.mean, again.deviation], [count, mean, deviation]);
  assert.deepEqual(
    events.slice(0, 5).map(({ task, what }) => `${task} ${what}`),
    ["accepted", "reported", "received", "accepted", "reported"].map(
      (what) => `statistics ${what}`,
    ),
  );
});

test("a client of few examples gives no statistics, and trains all the same", async () => {
  const server = await scriptedServer();
  const few = { x: data.x.subarray(0, 6 * 15), y: data.y.slice(0, 15) };
  await start(server, { data: few, holdOut: 0 });
  const { line } = await server.welcomed();
  await line.next("ready");
  const ask = async (settings: Readonly<Record<string, unknown>>) => {
    line.send(assignOf({ task: "statistics", settings }));
    const { transfer } = await line.next("want");
    line.chunk(transfer, 0, first.subarray(0, 1000));
    return line.next("decline");
  };
  const settings = { shape: [6], scale: 1, targets: 0 };
  const declined = await ask(settings);
  assert.equal(declined.code, "data");
  assert.match(declined.message ?? "", /16 examples or more for statistics, got 15/);
  line.send(assignOf());
  await serveModel(line, first);
  assert.equal((await line.next("offer")).samples, 15);
});

test("a client whose inputs are far from the run's says so", async () => {
  const server = await scriptedServer();
  const notices: string[] = [];
  const { client } = await start(server, {
    data: { ...data, x: data.x.map((value) => value + 100) },
  });
  client.on("notice", ({ message }) => notices.push(message));
  const { line } = await server.welcomed();
  await line.next("ready");
  line.send(assignOf());
  await serveModel(line, first);
  await line.next("offer");
  assert.equal(notices.length, 1);
  assert.match(notices[0], /far from those that the run was begun with \(channel 0: mean 50,/);
});

test("what goes wrong in training is told as failed, and the client goes on", async () => {
  const server = await scriptedServer();
  let trap = false;
  const { events } = await start(server, {
    limits: { seconds: 1000 },
    trainer: {
      ...trainer,
      train: (job, options) =>
        trap
          ? Promise.reject(new FedflatError("failed", "unreachable"))
          : trainer.train(job, options),
    },
  });
  const { line } = await server.welcomed();
  const failed = async (code: string, changes = {}) => {
    line.send(assignOf(changes));
    const { code: got, message } = await line.next("failed");
    assert.equal(got, code, message ?? "");
  };
  // The wrong bytes twice: the model is given up.
  const given = assignOf();
  line.send(given);
  for (let i = 0; i < 2; i++) {
    const { transfer } = await line.next("want");
    line.chunk(transfer, 0, new Uint8Array(first.length));
  }
  assert.equal((await line.next("failed")).code, "model");
  const unknown = failed("model");
  const { transfer } = await line.next("want");
  line.send({ type: "abort", transfer, code: "unknown-blob" });
  await unknown;

  const diverged = assignOf({
    settings: { ...settings, learningRate: 1e6, clipNorm: 0, weightDecay: 1e6 },
  });
  line.send(diverged);
  await serveModel(line, first);
  assert.equal((await line.next("failed")).code, "diverged");
  trap = true;
  await failed("trap");
  trap = false;
  line.send(assignOf());
  await line.next("offer");
  assert.equal(events.filter(({ what }) => what === "failed").length, 4);
});

test("a client whose worker cannot start says so once, leaves, and ends with the reason", async () => {
  const server = await scriptedServer();
  const client = new AnyClient(
    { url: server.url, state: await stateFolder(), data },
    {
      ...nodePlatform({ identity }),
      startWorker() {
        const port: WorkerPort = { post() {}, terminate() {} };
        queueMicrotask(() => port.onExit?.("no such script (http://host/worker.js)"));
        return port;
      },
    },
  );
  after(() => server.close());
  const message =
    '"worker" expected to start, got no such script (http://host/worker.js) (the last of 5 attempts)';
  const ended = assert.rejects(client.run(), {
    name: "ConfigError",
    code: "worker-unusable",
    message,
  });
  const { line } = await server.welcomed();
  line.send(assignOf());
  await serveModel(line, first);
  assert.equal((await line.next("failed")).message, message);
  assert.equal((await line.next("bye")).reason, "no worker can start");
  await ended;
});

test("figures that no message may hold are told as failed: the work does not hang", async () => {
  const server = await scriptedServer();
  await start(server, {
    trainer: {
      ...trainer,
      train: async (job, options) => {
        const { delta, metrics } = await trainer.train(job, options);
        return { delta, metrics: { ...metrics, lossAfter: Infinity } };
      },
      evaluate: async () => ({ count: 4, correct: 1, loss: 1e31 }),
    },
  });
  const { line } = await server.welcomed();
  line.send(assignOf());
  await serveModel(line, first);
  assert.equal((await line.next("failed")).code, "diverged");
  line.send(assignOf({ task: "evaluate", settings: {} }));
  assert.equal((await line.next("failed")).code, "diverged");
});

test("an offer that the aggregator cannot read is told as failed, and forgotten", async () => {
  const server = await scriptedServer();
  const { events, problems } = await start(server);
  const { line } = await server.welcomed();
  const { assignment } = assignOf();
  line.send(assignOf({ assignment }));
  await serveModel(line, first);
  await line.next("offer");
  const about = { type: "error" as const, code: "bad-field", message: "no such number" };
  line.send({ ...about, assignment: "0".repeat(32) });
  line.send({ ...about, assignment });
  assert.deepEqual(await line.next("failed"), {
    type: "failed",
    assignment,
    code: "other",
    message: "no such number",
  });
  line.send(assignOf());
  await line.next("offer");
  assert.deepEqual(
    events.map(({ what }) => what),
    ["accepted", "offered", "refused", "accepted", "offered"],
  );
  assert.equal(problems.length, 2);
  line.socket.terminate();
  const { hello } = await server.welcomed();
  assert.equal(hello.pending.length, 1);
});

test("an evaluation runs on the examples held out, and is reported", async () => {
  const server = await scriptedServer();
  const { client, events } = await start(server);
  const { line } = await server.welcomed();
  const assign = assignOf({ task: "evaluate", settings: {} });
  line.send(assign);
  await serveModel(line, first);
  const { evaluation } = await line.next("report");
  const { weights, normalisation } = loadModel(first);
  assert.deepEqual(
    evaluation,
    await trainer.evaluate({
      description,
      weights,
      normalisation,
      part: heldOut,
    }),
  );
  assert.ok(evaluation.count > 0);
  const received = new Promise<void>((resolve) =>
    client.on("assignment", ({ what }) => what === "received" && resolve()),
  );
  line.send({ type: "received", assignment: assign.assignment });
  await received;
  const event = { assignment: assign.assignment, round: assign.round, task: "evaluate" };
  assert.deepEqual(
    events,
    ["accepted", "reported", "received"].map((what) => ({ ...event, what })),
    "each event says that nothing is trained",
  );
});

test("a client with nothing held out declines an evaluation, and trains all the same", async () => {
  const server = await scriptedServer();
  await start(server, { holdOut: 0 });
  const { line } = await server.welcomed();
  line.send(assignOf({ task: "evaluate", settings: {} }));
  await serveModel(line, first);
  const { code } = await line.next("decline");
  assert.equal(code, "data");
  line.send(assignOf());
  await line.next("offer");
});

test("a real worker is stopped in the middle of a round, by the server and by the host", async () => {
  const server = await scriptedServer();
  const { client, running, events } = await start(server, {
    trainer: undefined,
  });
  const { line } = await server.welcomed();
  const long = { ...settings, localEpochs: 10_000 };
  const assign = assignOf({ settings: long });
  line.send(assign);
  await serveModel(line, first);
  assert.equal((await line.next("progress")).assignment, assign.assignment);
  // It trains in a thread of its own: the line is answered meanwhile.
  line.send({ type: "ping", id: 9 });
  assert.equal((await line.next("pong")).id, 9);
  line.send({
    type: "refused",
    assignment: assign.assignment,
    code: "abandoned",
  });
  const next = assignOf({ settings: long });
  // The worker may still be ending the void work.
  do line.send(next);
  while ((await line.next("accept", "decline")).type === "decline");
  await line.next("progress");
  await client.stop();
  assert.equal((await line.next("failed")).code, "stopped");
  await line.next("bye");
  assert.equal((await running).reason, "stopped");
  assert.ok(!events.some(({ what }) => what === "offered"));
});

test("predictions end neither each other nor with the run", async () => {
  const server = await scriptedServer();
  const { client, running } = await start(server, { trainer: undefined });
  const { line } = await server.welcomed();
  const second = modelOf("second");
  line.send({ type: "model", round: 1, model: blobOf(second) });
  await line.next("ready");
  const early = client.predict(data.x);
  await serveModel(line, second);
  const labelOf = (prediction: Prediction) => {
    assert.ok(prediction.task === "classes");
    return prediction.label;
  };
  const label = labelOf((await early)[0]);
  const [during] = await Promise.all([client.predict(data.x), client.stop()]);
  assert.equal((await running).reason, "stopped");
  const after = await Promise.all([1, 2, 3].map(() => client.predict(data.x)));
  for (const [prediction] of [during, ...after]) assert.equal(labelOf(prediction), label);
});

test("a prediction does not wait for the round that is being trained", async () => {
  const server = await scriptedServer();
  const { client, running } = await start(server, { trainer: undefined });
  const { line } = await server.welcomed();
  line.send({ type: "model", round: 1, model: blobOf(first) });
  line.send(assignOf({ settings: { ...settings, localEpochs: 10_000 } }));
  await serveModel(line, first);
  await line.next("progress");
  const [before, after] = [await client.predict(data.x), await client.predict(data.x)];
  assert.deepEqual(before, after);
  await client.stop();
  assert.equal((await line.next("failed")).code, "stopped");
  assert.equal((await running).reason, "stopped");
});

test("stop with force, and a listener that throws, leave nothing behind", async () => {
  const server = await scriptedServer();
  const { client, running, problems } = await start(server, {
    trainer: undefined,
  });
  client.on("progress", () => {
    throw new Error("the host's own mistake");
  });
  client.on("assignment", async () => {
    await Promise.reject(new Error("a later one"));
  });
  const { line } = await server.welcomed();
  line.send(assignOf({ settings: { ...settings, localEpochs: 10_000 } }));
  await serveModel(line, first);
  await line.next("progress");
  await client.stop({ force: true });
  assert.equal((await running).reason, "stopped");
  const told = new Set(problems.map(({ message }) => message));
  assert.deepEqual([...told], ["a later one", "the host's own mistake"]);
});

test("a mistake of the host's is one sentence", async () => {
  const folder = await stateFolder();
  const wrong = (options: Partial<ClientOptions>) => () =>
    new FederatedClient({ url: "ws://h", state: folder, data, ...options });
  assert.throws(wrong({ url: "http://h" }), { code: "url" });
  assert.throws(wrong({ url: "nowhere" }), { code: "url" });
  assert.throws(wrong({ holdOut: 1 }), { code: "hold-out" });
  const client = wrong({ url: "ws://127.0.0.1:9", patience: 1 })();
  const running = client.run();
  await assert.rejects(client.run(), { code: "running" });
  assert.equal((await running).reason, "unreachable");
});
