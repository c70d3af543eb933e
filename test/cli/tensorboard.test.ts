import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { writeTensorBoard } from "../../cli/tensorboard.js";
import { federation, tappedModel } from "../aggregator/run/federation.js";
import { updateFor } from "../aggregator/run/raw-client.js";

/**
 * CRC-32C by a table, and the mask of TFRecord; written from RFC 3720 and TensorFlow's record
 * format.
 */
const TABLE = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c >>> 0;
});
const crc = (data: Uint8Array) =>
  (data.reduce((c, b) => TABLE[(c ^ b) & 255] ^ (c >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0;
const mask = (c: number) =>
  Number(((((BigInt(c) >> 15n) | (BigInt(c) << 17n)) & 0xffffffffn) + 0xa282ead8n) & 0xffffffffn);

function* records(file: Buffer): Generator<Buffer> {
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    assert.equal(file.readUInt32LE(at + 8), mask(crc(file.subarray(at, at + 8))));
    const content = file.subarray(at + 12, at + 12 + length);
    assert.equal(file.readUInt32LE(at + 12 + length), mask(crc(content)));
    yield content;
    at += 16 + length;
  }
}

type Fields = Map<number, (number | Buffer)[]>;

function fieldsOf(message: Buffer): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++];
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    let value: number | Buffer;
    switch (key & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        value = message.readDoubleLE(at);
        at += 8;
        break;
      case 2: {
        const length = varint();
        value = message.subarray(at, at + length);
        at += length;
        break;
      }
      case 5:
        value = message.readFloatLE(at);
        at += 4;
        break;
      default:
        assert.fail(`wire type ${key & 7}`);
    }
    fields.set(key >> 3, [...(fields.get(key >> 3) ?? []), value]);
  }
  return fields;
}

test("the checks of this reader are right", () => {
  // RFC 3720, B.4
  assert.equal(crc(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc(Buffer.from("123456789")), 0xe3069283);
});

test("a run's figures stand in an event file, by round", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-events-"));
  const f = await federation(
    { gather: 2, rounds: 3, evaluateFraction: 1 },
    { model: tappedModel() },
  );
  try {
    writeTensorBoard(f.aggregator, join(folder, "run"));
    const clients = [
      await f.client("a", { activationNorms: [0.5] }),
      await f.client("b", { activationNorms: [0.5] }),
    ];
    await Promise.all(clients.map((c) => c.work((_, model) => updateFor(model, () => 0.1))));
    await f.aggregator.done;
    const [name, ...others] = await readdir(join(folder, "run"));
    assert.match(name, /^events\.out\.tfevents\.\d+\./);
    assert.deepEqual(others, []);
    const events = [...records(await readFile(join(folder, "run", name)))].map(fieldsOf);
    assert.equal(String(events[0].get(3)![0]), "brain.Event:2");
    const found: Record<string, [number, number][]> = {};
    for (const event of events.slice(1)) {
      const step = event.get(2)![0] as number;
      assert.ok(Math.abs((event.get(1)![0] as number) - Date.now() / 1000) < 60);
      for (const value of fieldsOf(event.get(5)![0] as Buffer).get(1)!) {
        const scalar = fieldsOf(value as Buffer);
        (found[String(scalar.get(1)![0])] ??= []).push([step, scalar.get(2)![0] as number]);
      }
    }
    const flat = (y: number) => [1, 2, 3].map((step) => [step, y]);
    assert.deepEqual(found["loss/training after"], flat(1));
    assert.deepEqual(found["activation norm/layer 0"], flat(0.5));
    assert.deepEqual(found["clients/participants"], flat(2));
    assert.deepEqual(found["accuracy/federated"], flat(0.5));
    assert.deepEqual(found["loss/federated"], flat(0.75));
  } finally {
    await f.end();
    await rm(folder, { recursive: true });
  }
});
