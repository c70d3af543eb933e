import { test } from "node:test";
import assert from "node:assert/strict";
import { federation, logged, type Federation } from "./federation.js";
import { readBlob, updateFor, type Message, type RawClient } from "./raw-client.js";

/** Runs a test on a federation that is ended whatever happens. */
const on =
  (
    settings: Parameters<typeof federation>[0],
    work: (f: Federation) => Promise<void>,
    options?: Parameters<typeof federation>[1],
  ) =>
  async () => {
    const f = await federation(settings, options);
    try {
      await work(f);
    } finally {
      await f.end();
    }
  };

/** Every number of the update is the client's number. */
const honest = (value: number) => (_: Message, model: Uint8Array) => updateFor(model, () => value);

test(
  "two clients train two rounds and get the mean of what they sent",
  on({ gather: 2, rounds: 2 }, async (f) => {
    const [a, b] = [await f.client("a", { samples: 10 }), await f.client("b", { samples: 30 })];
    const ends = await Promise.all([a.work(honest(1)), b.work(honest(-1))]);
    const ending = await f.aggregator.done;
    assert.deepEqual([ending.reason, ending.rounds], ["finished", 2]);
    // Each round moves every weight by (10 - 30) / 40.
    const [kernel] = readBlob(ending.model);
    assert.deepEqual(
      [...kernel.data.slice(0, 4)],
      [0, 1, 2, 3].map((i) => i / 8 - 1),
    );
    assert.equal(ends[0]["model"].sha256, f.aggregator.model.sha256);
    for (const client of [a, b])
      assert.equal(client.messages.filter(({ type }) => type === "committed").length, 2);
  }),
);

test(
  "a client that waits is told to come back while it still counts as here, also before the first round",
  on({ gather: 2, gatherDeadline: 600_000, absence: 2000 }, async (f) => {
    const client = await f.client("a");
    client.send({ type: "ready" });
    const { retryAfter } = await client.next("wait");
    assert.ok(retryAfter >= 500 && retryAfter <= 1000, `${retryAfter}`);
  }),
);

test(
  "an update that is too long is scaled down before it is folded, and whoever sent it is told nothing else",
  on({ rounds: 1, gather: 2, clipUpdateNorm: 2 }, async (f) => {
    const counted: [number, boolean][] = [];
    f.aggregator.on("counted", ({ norm, clipped }) => counted.push([norm!, clipped!]));
    const [a, b] = [await f.client("a"), await f.client("b")];
    // 15 numbers: a norm of 1 and one of 8.
    const [small, large] = [1, 8].map((norm) => norm / Math.sqrt(15));
    await Promise.all([a.work(honest(small)), b.work(honest(large))]);
    const { model } = await f.aggregator.done;
    const mean = (Math.fround(small) + Math.fround(large / 4)) / 2;
    for (const [i, x] of readBlob(model)[0].data.entries())
      assert.ok(Math.abs(x - (i / 8 + mean)) < 1e-6, `${x}`);
    assert.deepEqual(
      counted.sort(([x], [y]) => x - y).map(([x, y]) => [Math.round(x), y]),
      [
        [1, false],
        [8, true],
      ],
    );
    assert.ok(logged(f, /an update is clipped and folded/));
  }),
);

/** Two good clients and `bad`, whom the round can do without; the run of one round completes. */
async function completesDespite(
  f: Federation,
  bad: (client: RawClient, assignment: Message) => Promise<void>,
): Promise<void> {
  const good = [await f.client("good 1"), await f.client("good 2")];
  const client = await f.client("bad");
  const work = good.map((c) => c.work(honest(0.5)));
  client.send({ type: "ready" });
  const assignment = await client.next("assign");
  await bad(client, assignment);
  const ending = await f.aggregator.done;
  assert.equal(ending.reason, "finished");
  await Promise.all(work);
}

const oneRound = { rounds: 1, gather: 3, quorum: 0.6 };

test(
  "a client that leaves in mid-round",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client) => client.cut());
    assert.ok(logged(f, /a client is gone: left/));
  }),
);

test(
  "a client that sends nothing",
  on({ ...oneRound, deadline: 500 }, async (f) => {
    await completesDespite(f, async (client, { assignment }) => {
      const refused = await client.next("refused");
      assert.deepEqual([refused["assignment"], refused["code"]], [assignment, "late"]);
    });
    assert.ok(logged(f, /refused an update: the round closed without it/));
  }),
);

test(
  "a client that sends a wrong shape",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client, { assignment, model }) => {
      const right = updateFor(await client.fetch(model), () => 1);
      const text = Buffer.from(right).toString("latin1");
      const wrong = Buffer.from(text.replace("[4,3]", "[3,4]"), "latin1");
      const answer = await client.deliver(assignment, wrong);
      assert.deepEqual([answer.type, answer["code"]], ["refused", "layout"]);
    });
    assert.equal(logged(f, /refused an update: "header"/)?.["code"], "layout");
  }),
);

test(
  "a client that sends too many bytes",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client, { assignment }) => {
      const answer = await client.deliver(assignment, new Uint8Array(1e6));
      assert.deepEqual([answer.type, answer["code"]], ["refused", "bytes"]);
    });
    assert.equal(
      logged(f, /refused an update: "bytes" expected \d+, got 1000000/)?.["code"],
      "bytes",
    );
  }),
);

for (const [what, value, code] of [
  ["NaN", NaN, "not-finite"],
  ["infinity", -Infinity, "not-finite"],
  ["a number beyond the fold's range", 1e5, "range"],
] as const)
  test(
    `a client that sends ${what}`,
    on(oneRound, async (f) => {
      await completesDespite(f, async (client, { assignment, model }) => {
        const update = updateFor(await client.fetch(model), (_, i) => (i === 2 ? value : 0));
        const answer = await client.deliver(assignment, update);
        assert.deepEqual([answer.type, answer["code"]], ["refused", code]);
      });
      assert.equal(logged(f, /refused an update: "delta" has/)?.["code"], code);
    }),
  );

test(
  "a client whose update has too large a norm",
  on({ ...oneRound, maxNorm: 10 }, async (f) => {
    await completesDespite(f, async (client, { assignment, model }) => {
      const update = updateFor(await client.fetch(model), () => 5);
      const answer = await client.deliver(assignment, update);
      assert.deepEqual([answer.type, answer["code"]], ["refused", "norm"]);
    });
    assert.equal(logged(f, /expected a norm of at most 10/)?.["code"], "norm");
  }),
);

test(
  "a client that claims too many samples counts with those that its round has room for",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client, { assignment, model }) => {
      const update = updateFor(await client.fetch(model), () => 1);
      const answer = await client.deliver(assignment, update, {
        samples: 1_000_000,
      });
      assert.equal(answer.type, "received");
    });
    assert.equal(logged(f, /an update counts with fewer samples/)?.["weight"], 32);
    // (10 + 10) * 0.5 + 32 * 1, over 52.
    const [kernel] = readBlob(f.aggregator.model.bytes);
    assert.equal(kernel.data[0], Math.fround(42 / 52));
  }),
);

test(
  "a client whose bytes have another hash",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client, { assignment, model }) => {
      const update = updateFor(await client.fetch(model), () => 1);
      const answer = await client.deliver(assignment, update, {
        sha256: "0".repeat(64),
      });
      assert.deepEqual([answer.type, answer["code"]], ["refused", "hash"]);
    });
    assert.equal(logged(f, /expected SHA-256 0000/)?.["code"], "hash");
  }),
);

test(
  "a client that answers a wrong round",
  on({ ...oneRound, rounds: 2, clientsPerRound: 3 }, async (f) => {
    const good = [await f.client("good 1"), await f.client("good 2")];
    const client = await f.client("bad");
    const work = good.map((c) => c.work(honest(0.5)));
    client.send({ type: "ready" });
    const first = await client.next("assign");
    const model = await client.fetch(first["model"]);
    const update = updateFor(model, () => 1);
    await client.deliver(first["assignment"], update);
    await client.next("committed");
    const second = await client.next("assign");
    assert.equal(second["round"], 2);
    // The first round's work again, with other numbers: it is in the first round, and stays what it
    // was there.
    const late = await client.deliver(
      first["assignment"],
      updateFor(model, () => 2),
    );
    assert.deepEqual([late.type, late["code"]], ["refused", "conflict"]);
    // And work of no round at all.
    const unknown = await client.deliver("f".repeat(32), update);
    assert.deepEqual([unknown.type, unknown["code"]], ["refused", "unknown-assignment"]);
    await client.deliver(
      second["assignment"],
      updateFor(await client.fetch(second["model"]), () => 1),
    );
    assert.equal((await f.aggregator.done).reason, "finished");
    await Promise.all(work);
    assert.equal(logged(f, /this client has no such assignment/)?.["code"], "unknown-assignment");
  }),
);

test(
  "a client that sends the same update twice is counted once",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client, { assignment, model }) => {
      const update = updateFor(await client.fetch(model), () => 1);
      assert.equal((await client.deliver(assignment, update)).type, "received");
      const again = await client.deliver(assignment, update);
      assert.match(again.type, /^(received|committed)$/);
      await client.next("committed");
      const afterwards = await client.deliver(assignment, update);
      assert.equal(afterwards.type, "committed");
      const other = await client.deliver(
        assignment,
        updateFor(await client.fetch(model), () => 2),
      );
      assert.deepEqual([other.type, other["code"]], ["refused", "conflict"]);
    });
    // (10 + 10) * 0.5 + 10 * 1, over 30.
    const [kernel] = readBlob(f.aggregator.model.bytes);
    assert.equal(kernel.data[0], Math.fround(2 / 3));
    assert.equal(logged(f, /refused an update: "sha256" expected/)?.["code"], "conflict");
  }),
);

test(
  "a client that sends an oversize frame",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client) => {
      client.sendFrame(new Uint8Array(300_000));
      assert.equal((await client.untilClosed()).code, 1009);
    });
    assert.ok(logged(f, /closed a connection that broke WebSocket/));
  }),
);

test(
  "a client that sends an oversize text",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client, { assignment }) => {
      client.send({
        type: "failed",
        assignment,
        code: "other",
        message: "x".repeat(70_000),
      });
      assert.equal((await client.next("error"))["code"], "too-large");
      client.send({ type: "decline", assignment, code: "busy" });
    });
    assert.equal(logged(f, /refused a frame/)?.["code"], "too-large");
    assert.ok(logged(f, /a client declined its assignment/));
  }),
);

test(
  "a client that sends random bytes",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client) => {
      let seed = 1;
      const byte = () => (seed = (seed * 48271) % 2147483647) & 255;
      for (let i = 0; !client.closed && i < 100; i++) {
        const bytes = Uint8Array.from({ length: 1 + ((i * 7) % 300) }, byte);
        client.sendFrame(i % 2 ? bytes : Buffer.from(bytes).toString("latin1"));
      }
      assert.equal((await client.untilClosed()).code, 1008);
      assert.equal(client.messages.filter(({ type }) => type === "error").length, 100);
    });
    assert.ok(logged(f, /closed a connection after too many bad frames/));
  }),
);

test(
  "a client that fails says why, and is not waited for",
  on(oneRound, async (f) => {
    await completesDespite(f, async (client, { assignment }) =>
      client.send({
        type: "failed",
        assignment,
        code: "trap",
        message: "unreachable",
      }),
    );
    assert.equal(logged(f, /a client failed its assignment: unreachable/)?.["code"], "trap");
  }),
);

test(
  "an upload that breaks off goes on where it was after a reconnect",
  on({ rounds: 1, gather: 1, absence: 5000 }, async (f) => {
    const first = await f.client("a");
    first.send({ type: "ready" });
    const { assignment, model } = await first.next("assign");
    const update = updateFor(await first.fetch(model), () => 1);
    first.offer(assignment, update);
    const grant = await first.next("grant");
    assert.equal(grant["offset"], 0);
    first.sendChunk(grant["transfer"], 0, update.subarray(0, 100));
    first.send({ type: "ping", id: 1 });
    await first.next("pong");
    first.cut();
    const again = await f.client("a", {
      run: first.welcome!["run"],
      pending: [{ assignment, sha256: first.id }],
    });
    again.offer(assignment, update);
    const second = await again.next("grant");
    assert.equal(second["offset"], 100);
    await again.upload(second, update);
    await again.next("committed");
    assert.equal((await f.aggregator.done).rounds, 1);
  }),
);

test(
  "the newest connection of a client wins",
  on({ rounds: 1, gather: 1 }, async (f) => {
    const old = await f.client("a");
    const young = await f.client("a");
    assert.equal((await old.untilClosed()).code, 4000);
    await young.work(honest(1));
    assert.equal((await f.aggregator.done).rounds, 1);
  }),
);

test(
  "a proof for another host, and one without a signature that fits, are not admitted",
  on({}, async (f) => {
    const thief = f.stranger("a", { signedHost: "fl.example.org" });
    await assert.rejects(thief.join(), /4001 not-admitted/);
    assert.ok(logged(f, /refused a client/));
  }),
);

test(
  "a connection that does not say who it is in time is closed",
  on({ helloDeadline: 100 }, async (f) => {
    const silent = f.stranger("a");
    assert.deepEqual(await silent.untilClosed(), {
      code: 4002,
      reason: "hello-timeout",
    });
    assert.ok(logged(f, /did not say who it is in time/));
  }),
);

test(
  "a client that lacks a layer is not selected, and status says so",
  on({ rounds: 1, gather: 1 }, async (f) => {
    const poor = await f.client("poor", { layers: ["conv2d"] });
    poor.send({ type: "ready" });
    assert.match(
      (await poor.next("wait"))["reason"],
      /needs the layer dense, which this client does not have/,
    );
    const able = await f.client("able");
    await able.work(honest(1));
    assert.deepEqual(
      f.aggregator.status().clients.find(({ id }) => id === poor.id)?.state,
      "lacks the layer dense",
    );
    assert.ok(!poor.messages.some(({ type }) => type === "assign"));
    assert.ok(logged(f, /cannot take part: it lacks the layer dense/));
  }),
);

test(
  "an abandoned attempt leaves the model as it was and does not advance the round",
  on({ rounds: 1, gather: 2, quorum: 1, minimum: 2 }, async (f) => {
    const before = f.aggregator.model.sha256;
    const [a, b] = [await f.client("a"), await f.client("b")];
    for (const client of [a, b]) client.send({ type: "ready" });
    const mine = await a.next("assign");
    const update = updateFor(await a.fetch(mine["model"]), () => 1);
    await a.deliver(mine["assignment"], update);
    const other = await b.next("assign");
    b.send({
      type: "decline",
      assignment: other["assignment"],
      code: "busy",
    });
    const refused = await a.next("refused");
    assert.deepEqual([refused["assignment"], refused["code"]], [mine["assignment"], "abandoned"]);
    const again = await a.next("assign");
    assert.deepEqual([again["round"], again["attempt"]], [1, 2]);
    assert.equal(again["model"].sha256, before);
    await b.next("assign");
    assert.ok(logged(f, /the attempt is abandoned: 1 of 2 updates needed/));
  }),
);

test(
  "the clients' own evaluation is summed up, and the server's beside it",
  on(
    { rounds: 1, gather: 2, evaluateFraction: 1 },
    async (f) => {
      const lines: unknown[] = [];
      f.aggregator.on("evaluation", (line) => lines.push(line));
      const [a, b] = [await f.client("a"), await f.client("b")];
      await Promise.all([a.work(honest(1)), b.work(honest(1))]);
      await f.aggregator.done;
      assert.deepEqual(lines, [
        {
          round: 1,
          test: { count: 4, accuracy: 0.75, loss: 0.5 },
          federated: {
            ...{ count: 20, accuracy: 0.5, loss: 0.75, clients: 2 },
            spread: { mean: 0.5, worstTenth: 0.5 },
          },
        },
      ]);
    },
    { evaluate: async () => ({ count: 4, correct: 3, loss: 2 }) },
  ),
);
