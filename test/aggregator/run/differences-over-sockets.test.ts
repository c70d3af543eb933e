import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { FederatedClient } from "../../../runtime/client.js";
import { memoryStore } from "../../../runtime/platform/memory-store.js";
import { labIdentity } from "../../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../../runtime/platform/node.js";
import { random } from "../../../runtime/tensors/random.js";
import { labTrainer } from "../../faults/fixtures.js";
import { federation, tinyModel } from "./federation.js";
import { readBlob, sha256, updateFor, type Message, type RawClient } from "./raw-client.js";

// Models that are sent as int8 differences to clients that hold one of the last three.

const UNITS = 400;
const SETTINGS = { modelCodec: "int8", gather: 2, minimum: 2, quorum: 1, rounds: 6 } as const;

const dataOf = (blob: Uint8Array) =>
  blob.subarray(8 + Number(new DataView(blob.buffer, blob.byteOffset).getBigUint64(0, true)));
const numbersIn = (blob: Uint8Array) => readBlob(blob).flatMap(({ data }) => [...data]);

/** The model at a difference's end, as docs/protocol.md says it. */
function followed(base: Uint8Array, difference: Uint8Array): Uint8Array {
  const sizes = readBlob(base).map(({ data }) => data.length);
  const blocks = sizes.flatMap((size) =>
    Array.from({ length: Math.ceil(size / 256) }, (_, b) => Math.min(256, size - 256 * b)),
  );
  const data = dataOf(difference);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const next = Uint8Array.from(base);
  const out = dataOf(next);
  const numbers = new DataView(out.buffer, out.byteOffset, out.length);
  let at = 0;
  for (const [b, size] of blocks.entries()) {
    const half = new DataView(new ArrayBuffer(4));
    half.setUint16(0, view.getUint16(2 * b, true));
    const scale = half.getFloat32(0);
    for (const end = at + size; at < end; at++) {
      const x = numbers.getFloat32(4 * at, true) + scale * view.getInt8(2 * blocks.length + at);
      numbers.setFloat32(4 * at, x, true);
    }
  }
  return next;
}

const delta = (client: string, round: number) => {
  const chance = random(client, round);
  return Float32Array.from({ length: 5 * UNITS }, () => 0.01 * chance.normal());
};

/** An update of the model with these numbers. */
function updateOf(model: Uint8Array, numbers: Float32Array): Uint8Array {
  let at = 0;
  return updateFor(model, () => numbers[at++]);
}

/** Takes part in one round, from a model that is there. */
async function send(client: RawClient, name: string, assign: Message, model: Uint8Array) {
  await client.deliver(assign["assignment"], updateOf(model, delta(name, assign["round"])));
  await client.next("committed");
}

const next = (client: RawClient) => {
  client.send({ type: "ready" });
  return client.next("assign");
};

test("clients that hold a model are sent differences, all train from what is held, and the model is not rounded", async () => {
  const f = await federation(SETTINGS, { model: tinyModel(UNITS) });
  try {
    const a = await f.client("a", { models: ["float32", "int8"] });
    const b = await f.client("b");
    let held: Uint8Array | undefined;
    let first: Uint8Array | undefined;
    let master = Float32Array.from(numbersIn(f.aggregator.model.bytes));
    for (let round = 1; round <= SETTINGS.rounds; round++) {
      const [ours, theirs] = await Promise.all([next(a), next(b)]);
      assert.deepEqual(ours["model"], theirs["model"]);
      assert.equal(theirs["differences"], undefined);
      const differences: Message[] = ours["differences"] ?? [];
      assert.equal(differences.length, Math.min(round - 1, 3));
      const whole = await b.fetch(theirs["model"]);
      if (held !== undefined) {
        const difference = differences.at(-1)!;
        assert.equal(difference["base"], sha256(held));
        const bytes = await a.fetch(difference as never);
        assert.ok(bytes.length < whole.length / 3);
        held = followed(held, bytes);
        assert.deepEqual(Buffer.from(held), Buffer.from(whole));
      }
      // Who missed two rounds follows three differences.
      if (round === 4) {
        let behind = first!;
        for (const difference of differences)
          behind = followed(behind, await a.fetch(difference as never));
        assert.equal(sha256(behind), sha256(whole));
      }
      held ??= whole;
      first ??= whole;
      const most = Math.max(...numbersIn(whole).map((x, i) => Math.abs(x - master[i])));
      assert.ok(round === 1 ? most === 0 : most > 0 && most < 0.05 / 127);
      await Promise.all([send(a, "a", ours, whole), send(b, "b", theirs, whole)]);
      const [one, other] = ["a", "b"].map((name) => delta(name, round));
      master = master.map((w, i) => w + (one[i] + other[i]) / 2);
      assert.deepEqual(Float32Array.from(numbersIn(f.aggregator.model.bytes)), master);
    }
  } finally {
    await f.end();
  }
});

test("real clients fetch one model, then differences alone, and at the end the model itself", async () => {
  const f = await federation({ ...SETTINGS, gather: 3, minimum: 3 }, { model: tinyModel(UNITS) });
  /** Hashes of what each client asked for. */
  const wanted = [new Set<string>(), new Set<string>()];
  const client = (i: number) => {
    const node = nodePlatform({ identity: labIdentity("differences", i) });
    return new FederatedClient(
      {
        url: f.url,
        state: "",
        holdOut: 0,
        data: { x: new Float32Array(4 * 5).fill(i + 1), y: [0, 1, 2, 3, 4] },
        trainer: labTrainer,
      },
      {
        ...node,
        openState: async () => memoryStore(),
        openSocket(...args) {
          const socket = node.openSocket(...args);
          const send = socket.send.bind(socket);
          socket.send = (data) => {
            const message = typeof data === "string" ? JSON.parse(data) : {};
            if (message.type === "want") wanted[i].add(message.sha256);
            send(data);
          };
          return socket;
        },
      },
    ).run();
  };
  try {
    // One that says what it is assigned.
    const raw = await f.client("raw", { models: ["float32", "int8"] });
    const zeros = (_: Message, model: Uint8Array) => updateFor(model, () => 0);
    await Promise.all([client(0), client(1), raw.work(zeros)]);
    const assigned = raw.messages.filter(({ type }) => type === "assign");
    assert.equal(assigned.length, SETTINGS.rounds);
    const [first, ...later] = assigned;
    const differences = later.map((one) => one["differences"].at(-1).sha256);
    // Of the finished run they keep the model itself.
    const expected = [first["model"].sha256, ...differences, f.aggregator.model.sha256];
    for (const hashes of wanted) assert.deepEqual([...hashes], expected);
  } finally {
    await f.end();
  }
});

test("a restart goes on from what clients hold: the same model, whole, and differences from there", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-differences-"));
  const model = tinyModel(UNITS);
  let f = await federation(SETTINGS, { model, folder });
  const join2 = () =>
    Promise.all(["a", "b"].map((seed) => f.client(seed, { models: ["float32", "int8"] })));
  try {
    let clients = await join2();
    const round = async () => {
      const assigned = await Promise.all(clients.map(next));
      const whole = await clients[0].fetch(assigned[0]["model"]);
      await Promise.all(clients.map((client, i) => send(client, "ab"[i], assigned[i], whole)));
      return assigned[0];
    };
    await round();
    await round();
    // Given before the restart, and again after it.
    const [before] = await Promise.all(clients.map(next));
    assert.equal(before["differences"].length, 2);
    await f.end();
    f = await federation(SETTINGS, { model, folder, resume: true });
    clients = await join2();
    const after = await round();
    assert.deepEqual(after["model"], before["model"]);
    assert.equal(after["differences"], undefined);
    const later = await round();
    assert.deepEqual(
      later["differences"].map(({ base }: Message) => base),
      [after["model"].sha256],
    );
  } finally {
    await f.end();
    await rm(folder, { recursive: true });
  }
});
