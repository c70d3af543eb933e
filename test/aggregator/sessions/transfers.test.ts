import assert from "node:assert/strict";
import { test } from "node:test";
import { federation, type Federation } from "../run/federation.js";
import { updateFor, type RawClient } from "../run/raw-client.js";

// What docs/protocol.md says of transfers and of work at its edges.

const on =
  (work: (f: Federation) => Promise<void>, gather = 1) =>
  async () => {
    const f = await federation({ gather, rounds: 2, windowBytes: 1024 });
    try {
      await work(f);
    } finally {
      await f.end();
    }
  };

/** Everything sent before is answered when this is. */
async function settled(client: RawClient, id: number): Promise<void> {
  client.send({ type: "ping", id });
  await client.until("a pong", () =>
    client.messages.find((message) => message.type === "pong" && message["id"] === id),
  );
}

const errors = ({ messages }: RawClient) =>
  messages.filter(({ type }) => type === "error").map(({ code }) => code as string);

test(
  "a want for nothing is not answered and takes no place, one beyond the end is wrong, and the third open one is told busy",
  on(async (f) => {
    const client = await f.client("a");
    const { sha256, bytes } = client.welcome!["model"];
    const want = (transfer: number, offset: number) =>
      client.send({ type: "want", transfer, sha256, offset, window: 1 });
    for (const transfer of [1, 3, 5]) want(transfer, bytes);
    want(7, bytes + 1);
    want(9, 0);
    want(11, 0);
    want(13, 0);
    await settled(client, 1);
    assert.deepEqual(errors(client), ["bad-offset"]);
    const aborts = client.messages.filter(({ type }) => type === "abort");
    assert.deepEqual(
      aborts.map(({ transfer, code }) => [transfer, code]),
      [[13, "busy"]],
    );
    // One byte each: the window.
    assert.deepEqual(
      client.chunks.map((chunk) => [chunk[0], chunk.length]),
      [
        [9, 17],
        [11, 17],
      ],
    );
  }),
);

test(
  "an ack beyond what was sent and one that runs back are errors without effect, one of no transfer is passed over",
  on(async (f) => {
    const client = await f.client("a");
    const { sha256, bytes } = client.welcome!["model"];
    client.send({ type: "want", transfer: 1, sha256, offset: 0, window: 8 });
    client.send({ type: "ack", transfer: 1, offset: 9 });
    client.send({ type: "ack", transfer: 1, offset: 4 });
    client.send({ type: "ack", transfer: 1, offset: 3 });
    client.send({ type: "ack", transfer: 3, offset: 8 });
    await settled(client, 1);
    assert.deepEqual(errors(client), ["bad-offset", "bad-offset"]);
    client.send({ type: "ack", transfer: 1, offset: 12 });
    await settled(client, 2);
    const held = client.chunks.reduce((sum, chunk) => sum + chunk.length - 16, 0);
    assert.equal(held, 20);
    assert.ok(held < bytes);
  }),
);

test(
  "a window above the limit counts as the limit",
  on(async (f) => {
    const client = await f.client("a");
    const { sha256, bytes } = client.welcome!["model"];
    assert.equal(client.welcome!["limits"].windowBytes, 1024);
    client.send({ type: "want", transfer: 1, sha256, offset: 0, window: 1e9 });
    await settled(client, 1);
    const held = client.chunks.reduce((sum, chunk) => sum + chunk.length - 16, 0);
    assert.equal(held, Math.min(bytes, 1024));
    assert.deepEqual(errors(client), []);
  }),
);

test(
  "an offer that cannot be read is answered by an error with its assignment, and the client's failed ends the work",
  on(async (f) => {
    const client = await f.client("a");
    client.send({ type: "ready" });
    const { assignment, model } = await client.next("assign");
    const update = updateFor(await client.fetch(model), () => 1);
    client.offer(assignment, update, { metrics: { lossBefore: 1e31 } });
    const error = await client.next("error");
    assert.deepEqual([error["code"], error["assignment"]], ["bad-field", assignment]);
    client.send({ type: "failed", assignment, code: "other" });
    const again = await client.next("assign");
    assert.deepEqual([again["round"], again["attempt"]], [1, 2]);
  }),
);

for (const last of [
  { type: "decline", code: "busy" },
  { type: "failed", code: "other" },
  { type: "bye" },
])
  test(
    `${last.type} after received changes nothing: the update is counted`,
    on(async (f) => {
      const round = new Promise<readonly string[]>((resolve) =>
        f.aggregator.once("round", ({ participants }) => resolve(participants)),
      );
      const [a, b] = [await f.client("a"), await f.client("b")];
      for (const client of [a, b]) client.send({ type: "ready" });
      const deliver = async (client: RawClient): Promise<string> => {
        const { assignment, model } = await client.next("assign");
        const update = updateFor(await client.fetch(model), () => 1);
        assert.equal((await client.deliver(assignment, update)).type, "received");
        return assignment;
      };
      a.send({ ...last, assignment: await deliver(a) });
      await deliver(b);
      assert.deepEqual([...(await round)].sort(), [a.id, b.id].sort());
    }, 2),
  );
