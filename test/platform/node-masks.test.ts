import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { mask, maskedBy, unmask } from "../../runtime/platform/node-masks.js";
import { WebSocket, WebSocketServer } from "ws";

const MASK = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);

// RFC 6455, section 5.3, word for word.
const masked = (data: Uint8Array) => data.map((octet, i) => octet ^ MASK[i % 4]);

const filled = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i * 151 + 13) & 255);

test("masking by words equals masking by bytes, at every length and alignment", () => {
  for (let length = 0; length <= 67; length++)
    for (let at = 0; at <= 67; at++) {
      const source = filled(length);
      const expected = masked(source);
      // One byte too many on each side, which must stay as it is.
      const memory = new Uint8Array(at + length + 1).fill(0xee);
      memory.set(source, at);
      unmask(memory.subarray(at, at + length), MASK);
      assert.deepEqual(memory.slice(at, at + length), expected);
      assert.equal(memory[at + length], 0xee);
      if (at > 0) assert.equal(memory[at - 1], 0xee);
      memory.fill(0xee);
      mask(source, MASK, memory, at, length);
      assert.deepEqual(memory.slice(at, at + length), expected);
      assert.equal(memory[at + length], 0xee);
    }
});

test("a mask may be laid over the source itself, and over a part of it", () => {
  const data = filled(50);
  mask(data, MASK, data, 0, 40);
  assert.deepEqual(data.slice(0, 40), masked(filled(40)));
  assert.deepEqual(data.slice(40), filled(50).slice(40));
});

test("the version of ws that is installed takes them, and its frames arrive whole", async () => {
  assert.ok(maskedBy === "words" || maskedBy === "node", maskedBy);
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  try {
    server.on("connection", (line) =>
      line.on("message", (data, binary) => line.send(data, { binary })),
    );
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const client = new WebSocket(`ws://127.0.0.1:${port}`);
    await once(client, "open");
    for (const size of [0, 1, 5, 47, 48, 125, 126, 70_000]) {
      const data = filled(size);
      client.send(data);
      const [answer] = (await once(client, "message")) as [Buffer];
      assert.deepEqual(new Uint8Array(answer), data);
    }
    client.terminate();
  } finally {
    server.close();
  }
});
