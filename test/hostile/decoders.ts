import {
  foldToBytes,
  foldFromBytes,
  emptyFold,
} from "../../aggregator/strategies/fold.js";
import {
  frame,
  FIRST,
  MAGIC,
  readJournal,
} from "../../aggregator/storage/journal.js";
import { FedflatError } from "../../runtime/errors.js";
import { loadModel, writeModel } from "../../runtime/models/model.js";
import { parseDescription } from "../../runtime/models/description.js";
import { random, type Random } from "../../runtime/params/random.js";
import { readSafetensors } from "../../runtime/params/safetensors.js";
import { decodeChunk, encodeChunk } from "../../runtime/protocol/chunks.js";
import {
  decodeClientMessage,
  decodeServerMessage,
  encode,
  type OutgoingClientMessage,
  type OutgoingServerMessage,
} from "../../runtime/protocol/messages.js";
import { readTrainSettings } from "../../runtime/protocol/settings.js";
import { labModel } from "../faults/lab.js";

/** Everything that reads bytes or text that came from somebody else. */
export interface Decoder {
  readonly name: string;
  /** Inputs that are right, to begin from. */
  readonly corpus: readonly Uint8Array[];
  read(bytes: Uint8Array): unknown;
}

const hash = "ab".repeat(32);
const id = "cd".repeat(16);
const blob = { sha256: hash, bytes: 1000 };

const fromClient: OutgoingClientMessage[] = [
  {
    type: "hello",
    protocol: [1, 1],
    run: id,
    key: hash,
    nonce: hash,
    capabilities: {
      algorithms: ["fedavg"],
      layers: ["dense"],
      codecs: ["float32"],
    },
    samples: 10,
    counted: { round: 1, assignment: id, sha256: hash },
    pending: [{ assignment: id, sha256: hash }],
    agent: "fuzz",
  },
  { type: "proof", signature: "ef".repeat(64), token: "t" },
  { type: "ready" },
  { type: "busy", reason: "on battery" },
  { type: "decline", assignment: id, code: "busy", message: "m" },
  {
    type: "progress",
    assignment: id,
    epoch: 0,
    batch: 1,
    batches: 2,
    loss: 0.5,
  },
  { type: "want", transfer: 1, sha256: hash, offset: 0, window: 65536 },
  {
    type: "offer",
    assignment: id,
    sha256: hash,
    bytes: 204,
    samples: 10,
    metrics: {
      lossBefore: 2,
      lossAfter: 1,
      activationNorms: [0.5],
      seconds: 1,
    },
  },
  {
    type: "report",
    assignment: id,
    evaluation: { count: 10, correct: 5, loss: 7 },
  },
  { type: "ack", transfer: 2, offset: 100 },
  { type: "error", code: "not-json", message: "m" },
];

const settings = {
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
  meanSamples: 100,
  seed: "1",
};

const fromServer: OutgoingServerMessage[] = [
  { type: "challenge", protocol: 1, run: id, nonce: hash },
  {
    type: "welcome",
    epoch: 1,
    run: id,
    limits: { frameBytes: 65536, windowBytes: 65536, blobBytes: 204 },
    heartbeat: 20000,
    round: 1,
    model: blob,
  },
  {
    type: "assign",
    assignment: id,
    round: 1,
    attempt: 1,
    phase: "train",
    task: "train",
    model: blob,
    codec: "float32",
    settings,
    deadline: 1000,
  },
  { type: "grant", assignment: id, transfer: 2, offset: 0, window: 65536 },
  { type: "committed", assignment: id, round: 1, model: blob },
  { type: "refused", assignment: id, code: "late", message: "m" },
  { type: "wait", reason: "waits", retryAfter: 100 },
  { type: "finished", reason: "done", model: blob },
];

const utf8 = new TextEncoder();
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** JSON that is none ends there, as it does where these are read. */
function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(textOf(bytes));
  } catch {
    return undefined;
  }
}

const model = writeModel(labModel());

function journal(): Uint8Array {
  const first = frame('{"type":"run","run":"x"}', FIRST);
  const second = frame('{"type":"epoch","epoch":1}', first.hash);
  return Buffer.concat([MAGIC, first.bytes, second.bytes]);
}

const mustBeOk = (decoded: { ok: boolean; error?: unknown }) => {
  if (!decoded.ok) throw decoded.error;
};

export const DECODERS: readonly Decoder[] = [
  {
    name: "client messages",
    corpus: fromClient.map((message) => utf8.encode(encode(message))),
    read: (bytes) => mustBeOk(decodeClientMessage(textOf(bytes))),
  },
  {
    name: "server messages",
    corpus: fromServer.map((message) => utf8.encode(encode(message))),
    read: (bytes) => mustBeOk(decodeServerMessage(textOf(bytes))),
  },
  {
    name: "chunks",
    corpus: [
      encodeChunk({ transfer: 2, offset: 100, bytes: new Uint8Array(9) }),
    ],
    read: decodeChunk,
  },
  {
    name: "training settings",
    corpus: [utf8.encode(JSON.stringify(settings))],
    read: (bytes) => readTrainSettings(jsonOf(bytes)),
  },
  {
    name: "model descriptions",
    corpus: [
      utf8.encode(
        '{"input":[28,28,1],"layers":[{"type":"conv2d","filters":4,"kernelSize":5,"activation":"relu"},{"type":"maxPool","size":2},{"type":"flatten"},{"type":"dense","units":10}]}',
      ),
    ],
    read: (bytes) => parseDescription(jsonOf(bytes)),
  },
  { name: "safetensors", corpus: [model], read: readSafetensors },
  { name: "model files", corpus: [model], read: loadModel },
  {
    name: "folds",
    corpus: [
      foldToBytes(
        emptyFold({
          size: 3,
          maxUpdates: 2,
          maxAbs: 8,
          maxWeight: { delta: 5 },
        }),
      ),
    ],
    read: foldFromBytes,
  },
  { name: "journals", corpus: [journal()], read: readJournal },
];

const WORDS = [
  "__proto__",
  "constructor",
  "null",
  "true",
  "-1",
  "1e309",
  "9007199254740993",
  '"',
  "{",
  "[",
  "]",
  "}",
  ",",
  ":",
  "\\u0000",
  "\u{1f600}",
  "type",
  "0.1",
  "NaN",
].map((word) => utf8.encode(word));

/** A seeded change of one or more places: bits, bytes, pieces, words that matter to parsers, huge lengths. */
export function mutated({ corpus }: Decoder, chance: Random): Uint8Array {
  let bytes = Uint8Array.from(corpus[chance.integer(corpus.length)]);
  for (let changes = 1 + chance.integer(4); changes > 0; changes--) {
    const at = chance.integer(bytes.length + 1);
    const end = Math.min(bytes.length, at + chance.integer(16));
    const insert = (piece: Uint8Array, upTo = at) =>
      Uint8Array.from([
        ...bytes.subarray(0, at),
        ...piece,
        ...bytes.subarray(upTo),
      ]);
    switch (chance.integer(7)) {
      case 0:
        if (at < bytes.length) bytes[at] ^= 1 << chance.integer(8);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = chance.integer(256);
        break;
      case 2:
        bytes = insert(new Uint8Array(), end);
        break;
      case 3:
        bytes = insert(bytes.subarray(at, end));
        break;
      case 4:
        bytes = insert(
          WORDS[chance.integer(WORDS.length)],
          chance.integer(2) ? end : at,
        );
        break;
      case 5:
        bytes = bytes.slice(0, at);
        break;
      case 6:
        bytes.fill(0xff, at, end);
    }
  }
  return bytes;
}

/** Reads an input; throws where the decoder did anything but give a value or refuse it with an error of ours. */
export function mustRefuseOrRead(
  { name, read }: Decoder,
  bytes: Uint8Array,
): void {
  try {
    read(bytes);
  } catch (error) {
    if (error instanceof FedflatError && error.message.length < 4096) return;
    throw new Error(
      `${name}: ${String(error).slice(0, 200)} for ${Buffer.from(bytes).toString("base64").slice(0, 2000)}`,
      { cause: error },
    );
  }
}

/** So many seeded inputs to a decoder. */
export function fuzz(decoder: Decoder, inputs: number, seed: string): void {
  const chance = random("fuzz", decoder.name, seed);
  for (let i = 0; i < inputs; i++)
    mustRefuseOrRead(decoder, mutated(decoder, chance));
}
