import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Aggregator } from "../../../aggregator/run/aggregator.js";
import type { RoundRecord } from "../../../aggregator/run/round-record.js";
import { federation, logged, tinyModel, type Federation } from "./federation.js";
import { readBlob, updateFor, type Message, type RawClient } from "./raw-client.js";

const BUFFERED = {
  mode: "buffered",
  rounds: 2,
  buffer: 2,
  concurrency: 3,
  gather: 3,
  learningRateDecay: 0.5,
} as const;

/** The first weight of a model. */
const first = (model: Uint8Array) => readBlob(model)[0].data[0];

/** Takes the next assignment, and gives it with an update whose every number is `value`. */
async function taken(client: RawClient, value: number) {
  const assign = await client.next("assign");
  client.send({ type: "accept", assignment: assign["assignment"] });
  const model = await client.fetch(assign["model"]);
  return { assign, update: updateFor(model, () => value) };
}

async function work(client: RawClient, value: number): Promise<Message> {
  const { assign, update } = await taken(client, value);
  assert.equal((await client.deliver(assign["assignment"], update)).type, "received");
  return assign;
}

const lines = (f: Federation): RoundRecord[] => {
  const all: RoundRecord[] = [];
  f.aggregator.on("round", (line) => all.push(line));
  return all;
};

test("two fast clients and a slow one: its update comes a round late, and counts with 1/sqrt(2) of its weight", async () => {
  const f = await federation({ ...BUFFERED, rounds: 2 });
  try {
    const rounds = lines(f);
    const [a, b, slow] = [
      await f.client("a", { samples: 10 }),
      await f.client("b", { samples: 30 }),
      await f.client("slow", { samples: 20 }),
    ];
    for (const client of [a, b, slow]) client.send({ type: "ready" });
    const before = first(f.aggregator.model.bytes);
    const late = await taken(slow, 1);
    await work(a, 0.5);
    await work(b, -0.25);
    await a.next("committed");
    await b.next("committed");
    // The slow one is not called off, and the fast ones are at work on the new model.
    const next = await taken(a, 1);
    assert.deepEqual([next.assign["round"], next.assign["settings"].learningRate], [2, 0.05]);
    assert.notEqual(next.assign["model"].sha256, late.assign["model"].sha256);
    assert.equal((await slow.deliver(late.assign["assignment"], late.update)).type, "received");
    await a.deliver(next.assign["assignment"], next.update);
    assert.equal((await slow.next("committed"))["round"], 2);
    const ending = await f.aggregator.done;
    assert.deepEqual([ending.reason, ending.rounds], ["finished", 2]);
    // (10 * 0.5 - 30 * 0.25) / 40, then (20 * s + 10) / 30 where s is 1/sqrt(2) in steps of 2^-16.
    const s = 46341 / 65536;
    const one = Math.fround(before + (10 * 0.5 - 30 * 0.25) / 40);
    assert.equal(first(ending.model), Math.fround(one + (20 * s + 10) / 30));
    assert.deepEqual(
      rounds.map(({ staleness }) => staleness),
      [0, 0.5],
    );
    // A client that is at work when the last round is committed is told.
    assert.equal((await b.next("refused"))["code"], "late");
  } finally {
    await f.end();
  }
});

/** Runs a test on a federation of buffered rounds that is ended whatever happens. */
const on =
  (
    settings: Parameters<typeof federation>[0],
    body: (f: Federation) => Promise<void>,
    options?: Parameters<typeof federation>[1],
  ) =>
  async () => {
    const f = await federation({ ...BUFFERED, ...settings }, options);
    try {
      await body(f);
    } finally {
      await f.end();
    }
  };

/** One update is a round, and one client of two is fast. */
const SOLO = { rounds: 3, buffer: 1, concurrency: 2, gather: 2 };

test(
  "an update whose model is too old is refused as stale, by name, while its client is still at work",
  on({ ...SOLO, maxStaleness: 1 }, async (f) => {
    const [fast, slow] = [await f.client("fast"), await f.client("slow")];
    for (const client of [fast, slow]) client.send({ type: "ready" });
    const { assign, update } = await taken(slow, 1);
    await work(fast, 1);
    await work(fast, 1);
    const refused = await slow.next("refused");
    assert.deepEqual([refused["assignment"], refused["code"]], [assign["assignment"], "stale"]);
    // And again, by the same name, should it offer all the same.
    const again = await slow.deliver(assign["assignment"], update);
    assert.deepEqual([again.type, again["code"]], ["refused", "stale"]);
    assert.equal((await slow.next("assign"))["round"], 3);
  }),
);

test(
  "an old model can be fetched as long as somebody has work from it",
  on({ ...SOLO, rounds: 6, maxStaleness: 10 }, async (f) => {
    const [fast, slow] = [await f.client("fast"), await f.client("slow")];
    for (const client of [fast, slow]) client.send({ type: "ready" });
    const assign = await slow.next("assign");
    for (let round = 1; round <= 5; round++) await work(fast, 1);
    await fast.next("assign");
    const model = await slow.fetch(assign["model"]);
    const update = updateFor(model, () => 6);
    await slow.deliver(assign["assignment"], update);
    assert.equal((await slow.next("committed"))["round"], 6);
    // Five rounds behind: 6 / sqrt(6), in steps of 2^-16, on top of five times 1.
    const weight = 26755 / 65536;
    assert.equal(first(f.aggregator.model.bytes), Math.fround(first(model) + 5 + 6 * weight));
  }),
);

test(
  "a client that was killed loses its place when its absence is over, and its update is counted if it comes in time",
  on({ concurrency: 1, gather: 2, rounds: 1, absence: 100 }, async (f) => {
    const clients = [await f.client("a"), await f.client("b")];
    for (const client of clients) client.send({ type: "ready" });
    const killed = await Promise.race(
      clients.map(async (client) => {
        await client.until("work", () => client.messages.find(({ type }) => type === "assign"));
        return client;
      }),
    );
    const { assign, update } = await taken(killed, 1);
    killed.cut();
    const other = clients.find((client) => client !== killed)!;
    await work(other, 1);
    const { assignment } = assign as unknown as { assignment: string };
    const again = await f.client(killed === clients[0] ? "a" : "b", {
      run: killed.welcome!["run"],
      pending: [{ assignment }],
    });
    again.send({ type: "ready" });
    assert.equal((await again.deliver(assignment, update)).type, "received");
    await again.next("committed");
    assert.equal((await f.aggregator.done).reason, "finished");
  }),
);

test(
  "a client that does nothing is told late when its time is over",
  on({ concurrency: 1, deadline: 400, rounds: 1 }, async (f) => {
    const clients = [];
    for (const seed of ["a", "b", "c"]) clients.push(await f.client(seed));
    for (const client of clients) client.send({ type: "ready" });
    const refused = await Promise.race(clients.map((client) => client.next("refused")));
    assert.equal(refused["code"], "late");
    assert.ok(logged(f, /refused an update: the round closed without it/));
  }),
);

test(
  "FedAdam takes the mean of what came, stale or not",
  on(
    {
      ...SOLO,
      rounds: 1,
      algorithm: "fedadam",
      algorithmSettings: { serverLearningRate: 0.5, tau: 0.25 },
    },
    async (f) => {
      const able = { algorithms: ["fedadam"] };
      const [a, b] = [await f.client("a", able), await f.client("b", able)];
      for (const client of [a, b]) client.send({ type: "ready" });
      const before = first(f.aggregator.model.bytes);
      await work(a, 1);
      await f.aggregator.done;
      // m = 0.1 D, v = 0.99 tau^2 + 0.01 D^2 with D = 1.
      const v = 0.99 * 0.25 ** 2 + 0.01;
      const move = (0.5 * 0.1) / (Math.sqrt(v) + 0.25);
      const got = first(f.aggregator.model.bytes);
      assert.ok(Math.abs(got - (before + move)) < 1e-6);
    },
  ),
);

for (const algorithm of ["feddyn", "scaffold", "feddc", "fedspeed", "memory", "residual"])
  test(`${algorithm} is refused: its clients keep a state`, () =>
    assert.rejects(
      Aggregator.open({
        model: tinyModel(),
        settings: { mode: "buffered", algorithm },
      }),
      { name: "ConfigError", code: "client-state", message: /got buffered/ },
    ));

test("a server that is restarted counts what it had received once, and lets those at work go on with their older model", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-buffered-"));
  const settings = { ...BUFFERED, rounds: 3 };
  let f = await federation(settings, { folder });
  try {
    const [a, b, slow] = [await f.client("a"), await f.client("b"), await f.client("slow")];
    for (const client of [a, b, slow]) client.send({ type: "ready" });
    const base = first(f.aggregator.model.bytes);
    const late = await taken(slow, 1);
    const counted = await taken(a, 1);
    await a.deliver(counted.assign["assignment"], counted.update);
    await work(b, 1);
    await a.next("committed");
    // Round 2 has one update when the server goes down, and two clients at work, one of them a
    // round behind.
    const received = await taken(a, 1);
    await a.deliver(received.assign["assignment"], received.update);
    await taken(b, 1);
    for (const client of [a, b, slow]) client.cut();
    await f.aggregator.stop();
    await f.end();
    for (const name of await readdir(join(folder, "state", "blobs")))
      assert.ok(
        !(await readFile(join(folder, "state", "blobs", name))).includes("delta/"),
        "no client's update is on the disk",
      );

    f = await federation(settings, { folder, resume: true });
    const { run } = f.aggregator;
    const id = (work: { assign: Message }) => work.assign["assignment"];
    // What was counted before is not counted again, whatever a client says.
    const a2 = await f.client("a", {
      run,
      pending: [id(counted), id(received)].map((assignment) => ({
        assignment,
      })),
    });
    const replayed = await a2.deliver(id(counted), counted.update);
    assert.equal(replayed.type, "committed");
    assert.equal(replayed["round"], 1);
    assert.equal((await a2.deliver(id(received), received.update)).type, "received");
    // The slow one is at work from before the restart: it is given nothing else, and its update is
    // one round behind.
    const slow2 = await f.client("slow", {
      run,
      pending: [{ assignment: id(late) }],
    });
    slow2.send({ type: "ready" });
    assert.equal((await slow2.deliver(id(late), late.update)).type, "received");
    assert.equal((await slow2.next("committed"))["round"], 2);
    await a2.next("committed");
    const s = 46341 / 65536;
    assert.equal(first(f.aggregator.model.bytes), Math.fround(base + 1 + (1 + s) / 2));
    // An update that was counted, and is not the client's last, is not taken for a new one.
    const a3 = await f.client("a", {
      run,
      pending: [{ assignment: id(counted) }],
    });
    const again = await a3.deliver(id(counted), counted.update);
    assert.deepEqual([again.type, again["code"]], ["refused", "unknown-assignment"]);
    const b2 = await f.client("b", { run });
    for (const client of [a3, b2]) client.send({ type: "ready" });
    await work(a3, 1);
    await work(b2, 1);
    assert.equal((await f.aggregator.done).reason, "finished");
    await f.end();
    await assert.rejects(federation({}, { folder, resume: true }), {
      code: "resume",
      message: /expected the mode \(buffered\) that the run was begun with/,
    });
  } finally {
    await f.end();
    await rm(folder, { recursive: true, force: true });
  }
});
