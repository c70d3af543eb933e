import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, test } from "node:test";
import { backOff } from "../../runtime/connection/back-off.js";
import {
  Connection,
  type ConnectionOptions,
  type EndReason,
  type Told,
} from "../../runtime/connection/connection.js";
import type { ProtocolError } from "../../runtime/errors.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { scriptedServer, type ScriptedServer } from "./scripted-server.js";

const capabilities = {
  algorithms: ["fedavg"],
  layers: ["dense"],
  codecs: ["float32"],
};
const assignment = "ab".repeat(16);
const metrics = {
  lossBefore: 2,
  lossAfter: 1,
  activationNorms: [],
  seconds: 1,
};

const blobOf = (bytes: number) => {
  const data = Uint8Array.from({ length: bytes }, (_, i) => (i * 31) % 251);
  const sha256 = createHash("sha256").update(data).digest("hex");
  return { data, blob: { sha256, bytes } };
};

function connect(server: ScriptedServer, changes: Partial<ConnectionOptions> = {}) {
  const told: Told[] = [];
  const problems: ProtocolError[] = [];
  let ended!: (reason: EndReason) => void;
  const end = new Promise<EndReason>((resolve) => (ended = resolve));
  const connection = new Connection({
    url: server.url,
    openSocket: nodePlatform().openSocket,
    identity: labIdentity("connection", 0),
    introduce: () => ({ capabilities, samples: 10 }),
    chance: () => 0.05,
    events: {
      welcome: () => {},
      message: (message) => told.push(message),
      problem: (error) => problems.push(error),
      lost: () => {},
      ended: (reason) => ended(reason),
    },
    ...changes,
  });
  after(async () => {
    connection.close();
    await server.close();
  });
  connection.start();
  return { connection, told, problems, end };
}

test("greets, proves its key for this run and host, and says whether it is ready", async () => {
  const server = await scriptedServer();
  const { connection } = connect(server);
  connection.available("on battery");
  const { line, hello } = await server.welcomed();
  assert.equal(hello.key.length, 64);
  assert.deepEqual(hello.protocol, [1, 1]);
  assert.equal((await line.next("busy")).reason, "on battery");
  connection.available(true);
  await line.next("ready");
  line.send({ type: "ping", id: 5 });
  assert.equal((await line.next("pong")).id, 5);
  connection.close("enough");
  assert.equal((await line.next("bye")).reason, "enough");
  assert.equal(await line.closed, 1000);
});

test("an update's transfer continues at the byte where the connection broke", async () => {
  const server = await scriptedServer();
  const { connection, told } = connect(server);
  const { data, blob } = blobOf(300_000);
  const got = new Uint8Array(blob.bytes);
  let asked = 0;
  const first = await server.welcomed();
  await first.line.next("busy");
  connection.offer(
    { type: "offer", assignment, ...blob, samples: 9, metrics },
    (offset, length) => {
      asked += length;
      return data.subarray(offset, offset + length);
    },
  );
  await first.line.next("offer");
  first.line.send({
    type: "grant",
    assignment,
    transfer: 2,
    offset: 0,
    window: 100_000,
  });
  let held = 0;
  while (held < 100_000) {
    const chunk = await first.line.nextChunk();
    assert.equal(chunk.offset, held);
    got.set(chunk.bytes, chunk.offset);
    held += chunk.bytes.length;
  }
  assert.equal(held, 100_000, "the window holds");
  first.line.socket.terminate();

  const second = await server.welcomed();
  assert.equal((await second.line.next("offer")).sha256, blob.sha256);
  second.line.send({
    type: "grant",
    assignment,
    transfer: 2,
    offset: held,
    window: 262_144,
  });
  while (held < blob.bytes) {
    const chunk = await second.line.nextChunk();
    assert.equal(chunk.offset, held);
    got.set(chunk.bytes, chunk.offset);
    held += chunk.bytes.length;
    second.line.send({ type: "ack", transfer: 2, offset: held });
  }
  assert.deepEqual(got, data);
  assert.equal(asked, blob.bytes, "no byte was read twice");
  second.line.send({ type: "received", assignment });
  second.line.socket.terminate();

  // Received promises nothing: the offer is repeated until it is committed.
  const third = await server.welcomed();
  await third.line.next("offer");
  third.line.send({ type: "committed", assignment, round: 1, model: blob });
  third.line.send({ type: "ping" });
  await third.line.next("pong");
  third.line.socket.terminate();
  assert.deepEqual(
    told.map(({ type }) => type),
    ["received", "committed"],
  );

  const fourth = await server.welcomed();
  await fourth.line.next("busy");
  fourth.line.send({ type: "ping" });
  const { type } = await fourth.line.next("offer", "pong");
  assert.equal(type, "pong", "a committed update is offered no more");
});

test("a model's transfer continues at the byte where the connection broke", async () => {
  const server = await scriptedServer();
  const { connection } = connect(server);
  const { data, blob } = blobOf(200_000);
  const got = new Uint8Array(blob.bytes);
  const fetched = connection.fetch(blob, (bytes, offset) => got.set(bytes, offset));
  const first = await server.welcomed();
  const want = await first.line.next("want");
  assert.deepEqual(
    { ...want },
    {
      type: "want",
      transfer: 1,
      sha256: blob.sha256,
      offset: 0,
      window: 262_144,
    },
  );
  first.line.chunk(1, 0, data.subarray(0, 60_000));
  first.line.send({ type: "ping" });
  await first.line.next("pong");
  first.line.socket.terminate();

  const { line } = await server.welcomed();
  const again = await line.next("want");
  assert.equal(again.offset, 60_000);
  const acks: number[] = [];
  for (let offset = 60_000; offset < blob.bytes; offset += 20_000)
    line.chunk(again.transfer, offset, data.subarray(offset, offset + 20_000));
  do acks.push((await line.next("ack")).offset);
  while (acks[acks.length - 1] < blob.bytes);
  await fetched;
  assert.deepEqual(got, data);
  assert.deepEqual(acks, [200_000]);
});

test("a blob that is not there, and a fetch that is cancelled, end by name", async () => {
  const server = await scriptedServer();
  const { connection } = connect(server);
  const { blob } = blobOf(100);
  const { line } = await server.welcomed();
  const refused = connection.fetch(blob, () => {});
  const { transfer } = await line.next("want");
  line.send({ type: "abort", transfer, code: "unknown-blob" });
  await assert.rejects(refused, { code: "unknown-blob" });

  const controller = new AbortController();
  const cancelled = connection.fetch(blob, () => {}, controller.signal);
  const want = await line.next("want");
  controller.abort();
  await assert.rejects(cancelled, { code: "cancelled" });
  assert.equal((await line.next("abort")).transfer, want.transfer);
  // What was on its way is dropped in silence; a transfer that never was is an error.
  line.chunk(want.transfer, 0, new Uint8Array(10));
  line.chunk(99, 0, new Uint8Array(10));
  assert.match((await line.next("error")).message, /got 99/);
});

test("what the server sends wrong is answered by name, and the line stays", async () => {
  const server = await scriptedServer();
  const { problems } = connect(server);
  const { line } = await server.welcomed();
  const wrong: [string | Uint8Array, string][] = [
    ["{", "not-json"],
    ["[1]", "not-a-message"],
    ['{"type":"surprise"}', "unknown-type"],
    ['{"type":"assign"}', "bad-field"],
    [new Uint8Array(3), "bad-frame"],
    ['{"type":"ack","transfer":7,"offset":0}', "unknown-transfer"],
    [
      `{"type":"challenge","protocol":1,"run":"${server.run}","nonce":"${"00".repeat(32)}"}`,
      "out-of-order",
    ],
    [
      `{"type":"grant","assignment":"${assignment}","transfer":2,"offset":0,"window":1000000000}`,
      "over-window",
    ],
  ];
  for (const [frame, code] of wrong) {
    line.raw(frame);
    assert.equal((await line.next("error")).code, code);
  }
  assert.deepEqual(
    problems.map(({ code }) => code),
    wrong.map(([, code]) => code),
  );
  // A grant for nothing that was offered.
  line.send({ type: "grant", assignment, transfer: 2, offset: 0, window: 10 });
  assert.equal((await line.next("abort")).transfer, 2);
  for (let i = 0; i < 100; i++) line.raw("?");
  assert.equal(await line.closed, 1008);
});

test("a host that closes on the wrong frame that ends the link has ended the connection too", async () => {
  const server = await scriptedServer();
  let problems = 0;
  const lost: string[] = [];
  const { connection } = connect(server, {
    events: {
      welcome: () => {},
      message: () => {},
      problem: () => {
        if (++problems === 101) connection.close();
      },
      lost: (message) => lost.push(message),
      ended: () => {},
    },
  });
  const { line } = await server.welcomed();
  for (let i = 0; i < 101; i++) line.raw("?");
  await line.closed;
  assert.equal(problems, 101);
  assert.deepEqual(lost, []);
});

test("noise from the server never ends the client", async () => {
  const server = await scriptedServer();
  connect(server);
  const { line } = await server.welcomed();
  for (let i = 0; i < 60; i++) {
    const noise = crypto.getRandomValues(new Uint8Array((i * 7) % 90));
    line.raw(i % 2 ? noise : Buffer.from(noise).toString("latin1"));
  }
  line.send({ type: "ping", id: 1 });
  assert.equal((await line.next("pong")).id, 1);
});

test("a refusal with retryAfter keeps the offer, one without ends it", async () => {
  const server = await scriptedServer();
  const { connection } = connect(server);
  const { data, blob } = blobOf(64);
  const { line } = await server.welcomed();
  connection.offer({ type: "offer", assignment, ...blob, samples: 9, metrics }, (offset, length) =>
    data.subarray(offset, offset + length),
  );
  await line.next("offer");
  line.send({ type: "refused", assignment, code: "busy", retryAfter: 5 });
  await line.next("offer");
  line.send({ type: "refused", assignment, code: "late" });
  line.send({ type: "grant", assignment, transfer: 4, offset: 0, window: 64 });
  assert.equal((await line.next("abort")).code, "unknown-blob");
});

test("a report is repeated until it is received", async () => {
  const server = await scriptedServer();
  const { connection } = connect(server);
  const first = await server.welcomed();
  const evaluation = { count: 10, correct: 7, loss: 3.5 };
  connection.offer({ type: "report", assignment, evaluation });
  assert.deepEqual((await first.line.next("report")).evaluation, evaluation);
  first.line.socket.terminate();
  const second = await server.welcomed();
  await second.line.next("report");
  second.line.send({ type: "received", assignment });
  second.line.send({ type: "ping" });
  await second.line.next("pong");
  second.line.socket.terminate();
  const third = await server.welcomed();
  await third.line.next("busy");
});

test("silence is answered by pings, then by a new line", async () => {
  const server = await scriptedServer();
  connect(server);
  const { line } = await server.welcomed({ heartbeat: 100 });
  await line.next("ping");
  assert.equal(await line.closed, 4004);
  await server.welcomed();
});

test("some close codes end it for good", async () => {
  for (const [code, reason] of [
    [4000, "replaced"],
    [4001, "not-admitted"],
    [4003, "version"],
  ] as const) {
    const server = await scriptedServer();
    const { end } = connect(server);
    const { line } = await server.welcomed();
    line.socket.close(code);
    assert.equal(await end, reason);
  }
});

test("a server that cannot be reached ends the connection's patience", async () => {
  const server = await scriptedServer();
  await server.close();
  const { end } = connect(server, { patience: 50 });
  assert.equal(await end, "unreachable");
});

test("patience begins when the line is lost, however long it stood", async (t) => {
  const server = await scriptedServer();
  connect(server, { patience: 500, chance: () => 0 });
  const { line } = await server.welcomed();
  const later = performance.now() + 600;
  t.mock.method(performance, "now", () => later);
  line.socket.terminate();
  await server.welcomed();
});

test("the server's retryAfter is waited for", async () => {
  const server = await scriptedServer();
  const lost = new Promise<number>((resolve) =>
    connect(server, {
      events: {
        welcome: () => {},
        message: () => {},
        problem: () => {},
        lost: (_, retryIn) => resolve(retryIn),
        ended: () => {},
      },
    }),
  );
  const { line } = await server.welcomed();
  line.send({ type: "wait", reason: "drained", retryAfter: 60_000 });
  line.socket.close(1012);
  const wait = await lost;
  assert.ok(wait > 50_000 && wait <= 60_000, String(wait));
});

test("records of another run are told in a hello of its own", async () => {
  const server = await scriptedServer();
  const asked: (string | undefined)[] = [];
  const counted = { round: 3, assignment, sha256: "cd".repeat(32) };
  connect(server, {
    run: "ee".repeat(16),
    introduce: (run) => {
      asked.push(run);
      return {
        capabilities,
        counted: run === server.run ? counted : undefined,
      };
    },
  });
  const line = await server.line();
  const hello = await line.next("hello");
  assert.equal(hello.run, "ee".repeat(16));
  line.send({
    type: "challenge",
    protocol: 1,
    run: server.run,
    nonce: "00".repeat(32),
  });
  assert.equal(await line.closed, 1000);
  const second = await server.welcomed();
  assert.equal(second.hello.run, server.run);
  assert.deepEqual(second.hello.counted, counted);
});

test("the back-off has full jitter and an upper end", () => {
  assert.equal(backOff(0, 0), 0);
  assert.equal(backOff(0, 1), 500);
  assert.equal(backOff(3, 0.5), 2000);
  assert.equal(backOff(40, 1), 60_000);
});
