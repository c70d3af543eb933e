import type { OutgoingClientMessage } from "../../runtime/protocol/client-messages.js";
import type { OutgoingServerMessage } from "../../runtime/protocol/server-messages.js";

// One of each message, as it should be: what is read back, and what fuzzing begins from.

export const id = "0123456789abcdef".repeat(2);
export const hash = "0123456789abcdef".repeat(4);
const blob = { sha256: hash, bytes: 1234 };

const member = { key: hash, cipher: hash, mask: hash, weight: 7, signature: hash + hash };

export const fromClient: OutgoingClientMessage[] = [
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
      models: ["float32", "float16"],
      build: "simd",
      secure: true,
    },
    samples: 120,
    counted: { round: 3, assignment: id, sha256: hash },
    pending: [{ assignment: id, sha256: null }],
    agent: "sample/1",
  },
  { type: "proof", signature: hash + hash, token: "t" },
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
  { type: "trained", assignment: id },
  { type: "keys", assignment: id, ...member },
  { type: "shares", assignment: id, sealed: [null, "5a".repeat(81)], seed: hash },
  { type: "verify", assignment: id, signature: hash + hash },
  { type: "unmask", assignment: id, shares: [hash, null] },
  { type: "failed", assignment: id, code: "trap", message: "unreachable" },
  { type: "bye" },
  { type: "busy", reason: "labels of another kind", code: "data" },
  { type: "ack", transfer: 2, offset: 4096 },
  { type: "abort", transfer: 2, code: "evicted" },
  { type: "ping", id: 7 },
  { type: "pong" },
  { type: "error", code: "bad-field", message: "what was wrong" },
];

export const settings = {
  algorithm: "fedavg",
  algorithmSettings: { mu: 0.1 },
  localEpochs: 5,
  batchSize: 50,
  learningRate: 0.1,
  initialLearningRate: 0.1,
  weightDecay: 0.001,
  clipNorm: 10,
  zeta: 0.15,
  manIncludesLogits: false,
  shuffle: true,
  augmentation: { flip: true, crop: 4 },
  population: 10,
  meanSamples: 1080,
  seed: "seed",
};

export const fromServer: OutgoingServerMessage[] = [
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
    settings,
    deadline: 60000,
  },
  { type: "grant", assignment: id, transfer: 2, offset: 0, window: 65536 },
  { type: "keys", assignment: id },
  { type: "shares", assignment: id, members: [member] },
  { type: "masked", assignment: id, sealed: ["5a".repeat(81), null] },
  { type: "verify", assignment: id, survivors: [hash] },
  { type: "unmask", assignment: id, survivors: [hash], signatures: { [hash]: hash + hash } },
  { type: "received", assignment: id },
  { type: "committed", assignment: id, round: 2, model: blob },
  { type: "refused", assignment: id, code: "late" },
  { type: "model", round: 2, model: blob },
  { type: "wait", reason: "waits for 3 more clients", retryAfter: 1000 },
  { type: "finished", reason: "20 rounds done", model: blob },
];
