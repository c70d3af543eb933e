import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  decodeClientMessage,
  decodeServerMessage,
  encode,
  MAX_TEXT_BYTES,
  type OutgoingClientMessage,
  type OutgoingServerMessage,
} from "../../runtime/protocol/messages.js";
import { readTrainSettings } from "../../runtime/protocol/settings.js";

const id = "0123456789abcdef".repeat(2);
const hash = "0123456789abcdef".repeat(4);
const blob = { sha256: hash, bytes: 1234 };

const fromClient: OutgoingClientMessage[] = [
  {
    type: "hello",
    protocol: [1, 1],
    run: null,
    key: hash,
    nonce: hash,
    capabilities: {
      algorithms: ["fedavg"],
      layers: ["dense"],
      codecs: ["float32"],
      build: "simd",
    },
    samples: 120,
    counted: { round: 3, assignment: id, sha256: hash },
    pending: [{ assignment: id, sha256: null }],
  },
  { type: "proof", signature: hash + hash },
  { type: "ready" },
  { type: "busy", reason: "on battery" },
  { type: "accept", assignment: id },
  { type: "decline", assignment: id, code: "memory" },
  {
    type: "progress",
    assignment: id,
    epoch: 1,
    batch: 3,
    batches: 24,
    loss: 0.7,
  },
  { type: "want", transfer: 1, sha256: hash, offset: 0, window: 65536 },
  {
    type: "offer",
    assignment: id,
    ...blob,
    samples: 108,
    metrics: {
      lossBefore: 2.3,
      lossAfter: 0.4,
      activationNorms: [0.3, 0.1],
      seconds: 4.5,
    },
  },
  {
    type: "report",
    assignment: id,
    evaluation: { count: 12, correct: 9, loss: 7.25 },
  },
  { type: "failed", assignment: id, code: "trap", message: "unreachable" },
  { type: "bye" },
  { type: "ack", transfer: 2, offset: 4096 },
  { type: "abort", transfer: 2, code: "evicted" },
  { type: "ping", id: 7 },
  { type: "pong" },
  { type: "error", code: "bad-field", message: "what was wrong" },
];

const fromServer: OutgoingServerMessage[] = [
  { type: "challenge", protocol: 1, run: id, nonce: hash },
  {
    type: "welcome",
    epoch: 4,
    run: id,
    limits: { frameBytes: 65552, windowBytes: 262144, blobBytes: 1e8 },
    heartbeat: 15000,
    round: 1,
    model: blob,
  },
  {
    type: "assign",
    assignment: id,
    round: 2,
    attempt: 1,
    phase: "train",
    task: "train",
    model: blob,
    codec: "float32",
    settings: { anything: [1, 2] },
    deadline: 60000,
  },
  { type: "grant", assignment: id, transfer: 2, offset: 0, window: 65536 },
  { type: "received", assignment: id },
  { type: "committed", assignment: id, round: 2, model: blob },
  { type: "refused", assignment: id, code: "late" },
  { type: "model", round: 2, model: blob },
  { type: "wait", reason: "waits for 3 more clients", retryAfter: 1000 },
  { type: "finished", reason: "20 rounds done", model: blob },
];

test("every message is read back as it was written", () => {
  for (const message of fromClient) {
    const decoded = decodeClientMessage(encode(message));
    assert.ok(decoded.ok, message.type);
    assert.deepEqual({ ...decoded.message, ...message }, decoded.message);
  }
  for (const message of fromServer) {
    const decoded = decodeServerMessage(encode(message));
    assert.ok(decoded.ok, message.type);
    assert.deepEqual({ ...decoded.message, ...message }, decoded.message);
  }
});

test("an optional field may be absent, and is null when read", () => {
  const decoded = decodeServerMessage(
    JSON.stringify({ type: "refused", assignment: id, code: "late" }),
  );
  assert.deepEqual(decoded, {
    ok: true,
    message: {
      type: "refused",
      assignment: id,
      code: "late",
      message: null,
      retryAfter: null,
    },
  });
});

test("unknown fields are dropped", () => {
  const decoded = decodeClientMessage('{"type":"ready","later":{"a":1}}');
  assert.deepEqual(decoded, { ok: true, message: { type: "ready" } });
});

const codeOf = (text: string, decode = decodeClientMessage) => {
  const decoded = decode(text);
  return decoded.ok ? "ok" : decoded.error.code;
};

test("what is wrong with a frame has a name", () => {
  assert.equal(codeOf("{"), "not-json");
  assert.equal(codeOf(""), "not-json");
  assert.equal(codeOf("null"), "not-a-message");
  assert.equal(codeOf("[]"), "not-a-message");
  assert.equal(codeOf('{"type":3}'), "not-a-message");
  assert.equal(codeOf('{"type":"hullo"}'), "unknown-type");
  assert.equal(codeOf('{"type":"constructor"}'), "unknown-type");
  assert.equal(codeOf('{"type":"__proto__"}'), "unknown-type");
  assert.equal(codeOf('{"type":"busy"}'), "bad-field");
  assert.equal(codeOf('{"type":"assign"}'), "unknown-type");
  assert.equal(codeOf("[".repeat(MAX_TEXT_BYTES)), "not-json");
  assert.equal(codeOf(" ".repeat(MAX_TEXT_BYTES + 1)), "too-large");
  const long = (length: number) =>
    JSON.stringify({ type: "ready", x: "é".repeat(length) });
  assert.equal(codeOf(long((MAX_TEXT_BYTES - 24) / 2)), "ok");
  assert.equal(codeOf(long(MAX_TEXT_BYTES / 2)), "too-large");
});

test("the sentence names the field, what was expected and what came", () => {
  const decoded = decodeClientMessage(
    JSON.stringify({ ...fromClient[8], samples: 0 }),
  );
  assert.ok(!decoded.ok);
  assert.equal(decoded.error.message, '"offer.samples" expected >=1, got 0');
});

test("nothing in a frame reaches a prototype", () => {
  const decoded = decodeServerMessage(
    `{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"type":"assign","assignment":"${id}","round":1,"attempt":1,"phase":"train","task":"train","model":{"sha256":"${hash}","bytes":1,"__proto__":{"polluted":1}},"codec":"float32","settings":{"__proto__":{"polluted":1},"zeta":1},"deadline":1}`,
  );
  assert.ok(decoded.ok && decoded.message.type === "assign");
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
  assert.equal("polluted" in decoded.message, false);
  assert.equal("polluted" in decoded.message.settings, false);
  assert.equal("polluted" in decoded.message.model, false);
});

test("no text makes a decoder throw", () => {
  const frame = fc.oneof(
    fc.string(),
    fc.json(),
    fc
      .tuple(
        fc.constantFrom(...fromClient, ...fromServer),
        fc.dictionary(fc.string(), fc.jsonValue()),
      )
      .map(([message, noise]) => JSON.stringify({ ...message, ...noise })),
    fc
      .tuple(fc.constantFrom(...fromClient, ...fromServer), fc.nat(), fc.nat())
      .map(([message, at, byte]) => {
        const text = JSON.stringify(message);
        const i = at % text.length;
        return (
          text.slice(0, i) + String.fromCharCode(byte % 128) + text.slice(i + 1)
        );
      }),
  );
  fc.assert(
    fc.property(frame, (text) => {
      for (const decode of [decodeClientMessage, decodeServerMessage]) {
        const decoded = decode(text);
        assert.ok(decoded.ok || decoded.error.message.length < 400);
      }
    }),
    { numRuns: 2000 },
  );
});

test("training settings are strict and bounded", () => {
  const settings = {
    algorithm: "fedavg",
    algorithmSettings: {},
    localEpochs: 5,
    batchSize: 50,
    learningRate: 0.1,
    initialLearningRate: 0.1,
    weightDecay: 0.001,
    clipNorm: 10,
    zeta: 0.15,
    manIncludesLogits: false,
    shuffle: true,
    population: 10,
    meanSamples: 1080,
    seed: "seed",
  };
  assert.deepEqual(readTrainSettings(settings), settings);
  const grid = 2 ** -32;
  assert.equal(readTrainSettings({ ...settings, grid }).grid, grid);
  const refused = (changes: object, message: RegExp) =>
    assert.throws(() => readTrainSettings({ ...settings, ...changes }), {
      code: "settings",
      message,
    });
  refused({ localEpochs: 1e9 }, /"settings.localEpochs" expected <=10000/);
  refused({ learningRate: null }, /"settings.learningRate"/);
  refused({ grid: 3e-10 }, /"settings.grid" expected a power of two/);
  refused({ grid: 1 + 2 ** -52 }, /"settings.grid" expected a power of two/);
  refused({ grid: 0 }, /"settings.grid" expected/);
  refused({ zeta: -1 }, /"settings.zeta" expected >=0/);
  refused({ momentum: 0.9 }, /"settings.momentum" expected never/);
  refused(
    { algorithmSettings: { mu: "x" } },
    /"settings.algorithmSettings.mu"/,
  );
});
