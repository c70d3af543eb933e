import assert from "node:assert/strict";
import { createHash, createPrivateKey, createPublicKey, sign, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import {
  CHUNK_HEADER_BYTES,
  decodeChunk,
  encodeChunk,
  MAX_FRAME_BYTES,
} from "../../runtime/protocol/chunks.js";
import { proofBytes } from "../../runtime/protocol/signing.js";
import {
  ackDue,
  acknowledged,
  ackSent,
  chunkReceived,
  chunkSent,
  nextChunk,
  receiving,
  receivingDone,
  sending,
  sendingDone,
} from "../../runtime/protocol/transfer.js";
import { repository } from "../cli/command.js";

test("a chunk's bytes on the wire", () => {
  const frame = encodeChunk({
    transfer: 0x01020304,
    offset: 2 ** 32 * 5 + 6,
    bytes: Uint8Array.of(9, 8),
  });
  assert.deepEqual([...frame], [4, 3, 2, 1, 0, 0, 0, 0, 6, 0, 0, 0, 5, 0, 0, 0, 9, 8]);
  assert.deepEqual(decodeChunk(frame), {
    transfer: 0x01020304,
    offset: 2 ** 32 * 5 + 6,
    bytes: Uint8Array.of(9, 8),
  });
});

test("a binary frame that is no chunk is refused by name", () => {
  const chunk = encodeChunk({
    transfer: 1,
    offset: 0,
    bytes: new Uint8Array(1),
  });
  const changed = (at: number, value: number) => {
    const copy = chunk.slice();
    copy[at] = value;
    return copy;
  };
  for (const frame of [
    new Uint8Array(0),
    new Uint8Array(CHUNK_HEADER_BYTES),
    changed(0, 0),
    changed(4, 1),
    changed(14, 0x20),
    new Uint8Array(MAX_FRAME_BYTES + 1).fill(1, 0, 1),
  ])
    assert.throws(() => decodeChunk(frame), { code: "bad-frame" });
});

test("noise never gets past the reader of chunks except as a chunk", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (frame) => {
      try {
        assert.deepEqual(encodeChunk(decodeChunk(frame)), frame);
      } catch (error) {
        assert.equal((error as { code?: string }).code, "bad-frame");
      }
    }),
  );
});

test("any blob arrives whole and in order, whatever the windows, chunks and breaks of the line", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5000 }),
      fc.infiniteStream(fc.integer({ min: 0, max: 1_000_000 })),
      (bytes, stream) => {
        const random = (bound: number) => stream.next().value! % bound;
        const blob = Uint8Array.from({ length: bytes }, (_, i) => i * 7 + 1);
        const held: number[] = [];
        let lines = 0;
        while (held.length < bytes) {
          assert.ok(++lines < 10_000);
          // One line: the receiver names offset and window; messages wait in two queues; it may
          // break at any step.
          const start = { offset: held.length, window: 1 + random(700) };
          let sender = sending(lines, bytes, start);
          let receiver = receiving(lines, bytes, start);
          const chunks: { offset: number; length: number }[] = [];
          const acks: number[] = [];
          const breaksAfter = lines > 50 ? Infinity : random(60);
          for (let step = 0; step < breaksAfter; step++) {
            const chunk = nextChunk(sender, 1 + random(300));
            const choice = random(3);
            if (choice === 0 && chunk !== undefined) {
              chunks.push(chunk);
              sender = chunkSent(sender, chunk.length);
              assert.ok(sender.sent - sender.acknowledged <= start.window);
            } else if (choice === 1 && chunks.length > 0) {
              const { offset, length } = chunks.shift()!;
              receiver = chunkReceived(receiver, { offset, length });
              held.push(...blob.subarray(offset, offset + length));
              if (ackDue(receiver)) {
                receiver = ackSent(receiver);
                acks.push(receiver.held);
              }
            } else if (acks.length > 0) {
              sender = acknowledged(sender, acks.shift()!);
            } else if (chunk === undefined && chunks.length === 0 && acks.length === 0) {
              // Nothing moves any more: only the end may look like this.
              assert.ok(sendingDone(sender) && receivingDone(receiver));
              break;
            }
          }
        }
        assert.deepEqual(Uint8Array.from(held), blob);
      },
    ),
    { numRuns: 200 },
  );
});

test("a transfer refuses what does not continue it", () => {
  const state = receiving(3, 100, { offset: 40, window: 30 });
  const refused = (offset: number, length: number, code: string) =>
    assert.throws(() => chunkReceived(state, { offset, length }), { code });
  refused(39, 1, "bad-offset");
  refused(41, 1, "bad-offset");
  refused(40, 31, "over-window");
  refused(40, 61, "bad-offset");
  assert.equal(chunkReceived(state, { offset: 40, length: 30 }).held, 70);

  const sender = chunkSent(sending(3, 100, { offset: 40, window: 30 }), 20);
  assert.throws(() => acknowledged(sender, 39), { code: "bad-offset" });
  assert.throws(() => acknowledged(sender, 61), { code: "bad-offset" });
  assert.equal(acknowledged(sender, 60).acknowledged, 60);
  assert.throws(() => sending(3, 100, { offset: 101, window: 1 }), {
    code: "bad-offset",
  });
});

test("the signed bytes, the client's id and the signature are those that docs/protocol.md shows", () => {
  const page = readFileSync(repository("docs/protocol.md"), "utf8");
  const shown = (name: string) => {
    const [, hex] = new RegExp(`^${name} +([0-9a-f]{64}(?:\\s+[0-9a-f]{64}$)?)`, "m").exec(page)!;
    return Buffer.from(hex.replace(/\s/g, ""), "hex");
  };
  const bytes = proofBytes({
    run: "00".repeat(16),
    host: "fl.example.org:8443",
    clientNonce: "11".repeat(32),
    serverNonce: "22".repeat(32),
  });
  assert.equal(
    new TextDecoder().decode(bytes),
    `fedflat/1 proof\n${"00".repeat(16)}\nfl.example.org:8443\n${"11".repeat(32)}\n${"22".repeat(32)}`,
  );
  assert.equal(bytes.length, 198);
  const key = createPrivateKey({
    key: Buffer.concat([
      Buffer.from("302e020100300506032b657004220420", "hex"),
      shown("secret key"),
    ]),
    format: "der",
    type: "pkcs8",
  });
  assert.deepEqual(sign(null, bytes, key), shown("signature"));
  assert.ok(publicKeyOf(key).equals(shown("key")));
  assert.deepEqual(createHash("sha256").update(shown("key")).digest(), shown("client's id"));
});

const publicKeyOf = (key: KeyObject) =>
  createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
