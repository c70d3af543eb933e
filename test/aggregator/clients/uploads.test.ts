import assert from "node:assert/strict";
import { test } from "node:test";
import { federation, logged, tinyModel } from "../run/federation.js";
import { sha256, updateFor, type Message, type RawClient } from "../run/raw-client.js";

/** A client with an assignment and the update it will send. */
async function ready(
  client: RawClient,
): Promise<{ client: RawClient; assignment: string; update: Uint8Array }> {
  const assign = await client.next("assign");
  const update = updateFor(await client.fetch(assign["model"]), () => 1);
  return { client, assignment: assign["assignment"], update };
}

test("grants come from one budget; a stalled upload loses its room to one that waits", async () => {
  // Room for two updates, the least there is.
  const f = await federation({
    gather: 3,
    rounds: 1,
    budgetBytes: 1,
    stall: 300,
    heartbeat: 200,
  });
  try {
    const clients = [await f.client("a"), await f.client("b"), await f.client("c")];
    for (const client of clients) client.send({ type: "ready" });
    const [a, b, c] = await Promise.all(clients.map(ready));
    a.client.offer(a.assignment, a.update);
    const first = await a.client.next("grant");
    b.client.offer(b.assignment, b.update);
    await b.client.next("grant");
    c.client.offer(c.assignment, c.update);
    // No room: told to wait, and granted when one of the two has not moved for a while.
    assert.equal((await c.client.next("wait", "grant")).type, "wait");
    a.client.sendChunk(first["transfer"], 0, a.update.subarray(0, 100));
    const abort = await Promise.race([
      a.client.next("abort").then((m) => ({ ...m, whose: a })),
      b.client.next("abort").then((m) => ({ ...m, whose: b })),
    ]);
    assert.equal((abort as Message & object)["code"], "evicted");
    await c.client.upload(await c.client.next("grant"), c.update);
    await c.client.next("received");
    // The one that lost its room begins again from the start.
    const { whose } = abort;
    const again = await whose.client.next("grant");
    assert.equal(again["offset"], 0);
    await whose.client.upload(again, whose.update);
    await whose.client.next("received");
    assert.ok(logged(f, /an upload lost its room to one that waits/));
    // The other one sends its rest, or begins again where it lost its room meanwhile too.
    const other = whose === a ? b : a;
    const grant = other.client.messages.findLast((m) => m.type === "grant")!;
    const held = other === a ? 100 : 0;
    const lost = other.client.messages.some((m) => m.type === "abort");
    if (!lost) await other.client.upload({ ...grant, offset: held }, other.update);
    else await other.client.upload(await other.client.next("grant"), other.update);
    assert.equal((await f.aggregator.done).reason, "finished");
  } finally {
    await f.end();
  }
});

test("chunks that were not granted, do not continue, or pass the end or the window are not used", async () => {
  const f = await federation({ rounds: 1, windowBytes: 1024 });
  try {
    const client = await f.client("a");
    client.send({ type: "ready" });
    const { assignment, update } = await ready(client);
    const code = async () => (await client.next("error"))["code"];
    client.sendChunk(2, 0, update.subarray(0, 8));
    assert.equal(await code(), "unknown-transfer");
    client.offer(assignment, update);
    const { transfer } = await client.next("grant");
    client.sendChunk(transfer, 8, update.subarray(8, 16));
    assert.equal(await code(), "bad-offset");
    client.sendChunk(transfer, 0, new Uint8Array(update.length + 1));
    assert.equal(await code(), "bad-offset");
    client.sendFrame(new Uint8Array(16));
    assert.equal(await code(), "bad-frame");
    client.sendChunk(transfer, 0, update);
    await client.next("committed");
    assert.equal((await f.aggregator.done).rounds, 1);
  } finally {
    await f.end();
  }
});

test("a client that gives its transfer up can offer again", async () => {
  const f = await federation({ rounds: 1 });
  try {
    const client = await f.client("a");
    client.send({ type: "ready" });
    const { assignment, update } = await ready(client);
    client.offer(assignment, update);
    const { transfer } = await client.next("grant");
    client.sendChunk(transfer, 0, update.subarray(0, 50));
    client.send({ type: "abort", transfer, code: "cancelled" });
    client.offer(assignment, update);
    const again = await client.next("grant");
    assert.deepEqual([again["offset"], again["transfer"]], [50, transfer + 2]);
    await client.upload(again, update);
    await client.next("committed");
  } finally {
    await f.end();
  }
});

test("a large update goes through a worker, chunk by chunk, and a wrong one is refused there too", async () => {
  const units = 60_000;
  const f = await federation(
    { rounds: 2, gather: 2, quorum: 0.5, pause: 10 },
    {
      model: tinyModel(units),
    },
  );
  try {
    const [good, bad] = [await f.client("good"), await f.client("bad")];
    const work = good.work((_, model) => updateFor(model, () => 0.5));
    bad.send({ type: "ready" });
    for (let round = 1; round <= 2; round++) {
      const assign = await bad.next("assign");
      const model = await bad.fetch(assign["model"]);
      const update = updateFor(model, (_, i) => (i === 777 ? Infinity : 0));
      assert.ok(update.length > 1024 * 1024);
      const answer = await bad.deliver(assign["assignment"], update);
      assert.equal(answer["code"], "not-finite");
    }
    await work;
    const ending = await f.aggregator.done;
    assert.equal(ending.rounds, 2);
    assert.equal(sha256(ending.model), f.aggregator.model.sha256);
  } finally {
    await f.end();
  }
});
