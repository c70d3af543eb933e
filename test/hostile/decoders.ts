import { createHash } from "node:crypto";
import { encode as encodeJpeg } from "jpeg-js";
import { PNG } from "pngjs";
import { readUpdate } from "../../aggregator/aggregation/validation.js";
import { plain } from "../../aggregator/aggregation/arithmetic.js";
import { foldToBytes, foldFromBytes, emptyFold } from "../../aggregator/aggregation/exact-sum.js";
import { frame, FIRST, MAGIC, readJournal } from "../../aggregator/storage/journal.js";
import { readPictures } from "../../cli/pictures.js";
import { halfModel, wholeModel } from "../../runtime/codecs/parts/model-blob.js";
import { follow, heldIn, differenceTo } from "../../runtime/codecs/parts/model-difference.js";
import { CODECS } from "../../runtime/codecs/built-in.js";
import type { Codec } from "../../runtime/codecs/codec.js";
import { int8, int8Blocks } from "../../runtime/codecs/int8.js";
import { readCsv } from "../../runtime/data/csv.js";
import { readIdx } from "../../runtime/data/idx.js";
import { readNpy } from "../../runtime/data/npy.js";
import { FedflatError, ProtocolError } from "../../runtime/errors.js";
import { loadModel, writeModel } from "../../runtime/models/model.js";
import { parseDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import { random, type Random } from "../../runtime/tensors/random.js";
import { readSafetensors } from "../../runtime/tensors/safetensors.js";
import { decodeChunk, encodeChunk } from "../../runtime/protocol/chunks.js";
import { decodeClientMessage } from "../../runtime/protocol/client-messages.js";
import { encode } from "../../runtime/protocol/messages.js";
import { decodeServerMessage } from "../../runtime/protocol/server-messages.js";
import { readTrainSettings } from "../../runtime/protocol/settings.js";
import { tinyModel } from "../aggregator/run/federation.js";
import { fromClient, fromServer, settings } from "../protocol/samples.js";

/** Everything that reads bytes or text that came from somebody else. */
export interface Decoder {
  readonly name: string;
  /** Inputs that are right, to begin from. */
  readonly corpus: readonly Uint8Array[];
  /** A value, or the promise of one. */
  read(bytes: Uint8Array): unknown;
}

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

const model = writeModel(tinyModel());
const held = heldIn(model);

function journal(): Uint8Array {
  const first = frame('{"type":"run","run":"x"}', FIRST);
  const second = frame('{"type":"epoch","epoch":1}', first.hash);
  return Buffer.concat([MAGIC, first.bytes, second.bytes]);
}

const { layout } = tinyModel();
const delta = Float32Array.from({ length: layout.size }, (_, i) => i / 8);

/**
 * What an aggregator does with the bytes of an update: it takes those of the right number, then
 * looks at them.
 */
async function updates(codec: Codec): Promise<Decoder> {
  const form = codec.form(layout, ["delta"]);
  // As the aggregator does.
  const decode = codec === int8 ? int8Blocks(layout, ["delta"]) : form.decode;
  const grid = 2 ** -32;
  const drawn = await form.draw?.("run/round-1/attempt-1");
  return {
    name: `${codec.name} updates`,
    corpus: [form.encode({ delta }, { grid, drawn })],
    read(bytes) {
      const { refusal } =
        bytes.length === form.bytes
          ? readUpdate({
              bytes,
              sha256: createHash("sha256").update(bytes).digest("hex"),
              decode: () => decode(bytes, { grid, drawn }),
              maxAbs: 1024,
              grid,
              maxNorm: 100,
              arithmetic: plain,
            })
          : { refusal: { code: "bytes", message: "another length" } };
      if (refusal !== undefined) throw new ProtocolError(refusal.code, refusal.message);
    },
  };
}

function npy(type: string, shape: string, bytes: number): Uint8Array {
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': ${shape}, }`;
  const header = text.padEnd(117) + "\n";
  return Buffer.concat([
    Buffer.from("\x93NUMPY\x01\x00", "latin1"),
    Uint8Array.of(header.length, 0),
    utf8.encode(header),
    new Uint8Array(bytes),
  ]);
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
    corpus: [encodeChunk({ transfer: 2, offset: 100, bytes: new Uint8Array(9) })],
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
  {
    name: "graphs",
    corpus: [
      utf8.encode(
        '{"input":[6,4],"layers":[{"type":"dense","units":4,"name":"a"},{"type":"gru","units":3,"inputs":["a"],"name":"g"},{"type":"multiHeadAttention","heads":2,"inputs":["a"],"name":"m"},{"type":"add","inputs":["a","m"]},{"type":"layerNorm"},{"type":"globalAvgPool","name":"p"},{"type":"concat","inputs":["g","p"]},{"type":"dense","units":3}]}',
      ),
    ],
    read: (bytes) => networkOf(parseDescription(jsonOf(bytes))),
  },
  {
    name: "pictures",
    corpus: [
      PNG.sync.write(
        Object.assign(new PNG({ width: 8, height: 8 }), { data: Buffer.alloc(256, 77) }),
      ),
      encodeJpeg({ width: 8, height: 8, data: Buffer.alloc(256, 77) }, 50).data,
    ],
    read: (bytes) => readPictures([{ source: "fuzz", bytes }], [8, 8, 1]),
  },
  { name: "safetensors", corpus: [model], read: readSafetensors },
  { name: "model files", corpus: [model], read: loadModel },
  {
    name: "models of halves",
    corpus: [halfModel(model, ["model"])],
    read: (bytes) => wholeModel(Uint8Array.from(bytes)),
  },
  {
    name: "model differences",
    corpus: [
      differenceTo(
        held,
        held.numbers.map((w) => w / 3),
      )!,
    ],
    read: (bytes) => follow(held, bytes),
  },
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
  ...(await Promise.all(Object.values(CODECS).map(updates))),
  {
    name: "NPY files",
    corpus: [npy("<f4", "(2, 3)", 24), npy("|u1", "(4,)", 4)],
    read: (bytes) => readNpy("fuzz", bytes),
  },
  {
    name: "IDX files",
    corpus: [
      Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4),
      Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 2, 7, 9),
    ],
    read: (bytes) => readIdx("fuzz", bytes),
  },
  {
    name: "CSV files",
    corpus: [utf8.encode('label,group,a,b\n"x, y",1,0.5,-2\nz,2,1e3,4\n')],
    read: (bytes) => readCsv("fuzz", bytes),
  },
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

/**
 * A seeded change of one or more places: bits, bytes, pieces, words that matter to parsers, huge
 * lengths.
 */
export function mutated({ corpus }: Decoder, chance: Random): Uint8Array {
  let bytes = new Uint8Array(corpus[chance.integer(corpus.length)]);
  for (let changes = 1 + chance.integer(4); changes > 0; changes--) {
    const at = chance.integer(bytes.length + 1);
    const end = Math.min(bytes.length, at + chance.integer(16));
    const insert = (piece: Uint8Array, upTo = at) =>
      new Uint8Array(Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(upTo)]));
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
        bytes = insert(WORDS[chance.integer(WORDS.length)], chance.integer(2) ? end : at);
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

/**
 * Reads an input; throws where the decoder did anything but give a value or refuse it with an error
 * of ours.
 */
export async function mustRefuseOrRead({ name, read }: Decoder, bytes: Uint8Array): Promise<void> {
  try {
    await read(bytes);
  } catch (error) {
    if (error instanceof FedflatError && error.message.length < 4096) return;
    throw new Error(
      `${name}: ${String(error).slice(0, 200)} for ${Buffer.from(bytes).toString("base64").slice(0, 2000)}`,
      { cause: error },
    );
  }
}

/** So many seeded inputs to a decoder. */
export async function fuzz(decoder: Decoder, inputs: number, seed: string): Promise<void> {
  const chance = random("fuzz", decoder.name, seed);
  for (let i = 0; i < inputs; i++) await mustRefuseOrRead(decoder, mutated(decoder, chance));
}
