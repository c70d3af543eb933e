import assert from "node:assert/strict";
import { test } from "node:test";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { federation, type Federation } from "./federation.js";
import { updateFor, type Message, type RawClient } from "./raw-client.js";

// What would fail again in the same way is not tried again before something has changed.

const WHY = '"label" expected 0 to 2, got 7';

/** A run with two clients that do what they should, and one that cannot. */
async function withOneThatCannot(
  settings: GivenSettings,
  work: (f: Federation, cannot: RawClient, ends: Promise<unknown>) => Promise<void>,
): Promise<void> {
  const f = await federation({ gather: 3, minimum: 2, quorum: 1, ...settings });
  try {
    const able = [await f.client("a"), await f.client("b")];
    const cannot = await f.client("cannot");
    const ends = Promise.all(able.map((client) => client.work(ones)));
    cannot.send({ type: "ready" });
    await work(f, cannot, ends);
  } finally {
    await f.end();
  }
}

const ones = (_: unknown, model: Uint8Array) => updateFor(model, () => 1);
const assignsOf = ({ messages }: RawClient) => messages.filter(({ type }) => type === "assign");
const decline = (client: RawClient, { assignment }: Message, code = "data") =>
  client.send({ type: "decline", assignment, code, message: WHY });

test("a client whose data do not fit is not asked again; the others make the rounds, and the reason is told", () =>
  withOneThatCannot({ rounds: 3 }, async (f, cannot, ends) => {
    const missed: unknown[] = [];
    f.aggregator.on("missed", (work) => missed.push(work));
    let abandoned = 0;
    f.aggregator.on("abandoned", () => abandoned++);
    decline(cannot, await cannot.next("assign"));
    await ends;
    const ending = await f.aggregator.done;
    assert.deepEqual([ending.reason, ending.rounds, abandoned], ["finished", 3, 0]);
    assert.equal(assignsOf(cannot).length, 1);
    assert.deepEqual(missed, [
      {
        client: cannot.id,
        round: 1,
        code: "declined-data",
        reason: `data: ${WHY}`,
        barred: true,
      },
    ]);
    const { clients } = f.aggregator.status();
    assert.equal(clients.find(({ id }) => id === cannot.id)!.state, `cannot train: data: ${WHY}`);
    assert.equal(f.aggregator.load().clients.unfit, 1);
  }));

for (const mode of ["synchronous", "buffered"] as const)
  test(`a client that says beforehand that it cannot take part is awaited by no round (${mode})`, async () => {
    const f = await federation({ mode, rounds: 2, gather: 3, minimum: 2, quorum: 1 });
    try {
      const changes: unknown[] = [];
      f.aggregator.on("client", ({ change, reason, code }) => {
        if (code !== undefined) changes.push({ change, reason, code });
      });
      const cannot = await f.client("cannot");
      cannot.send({ type: "busy", reason: WHY, code: "data" });
      const able = [await f.client("a"), await f.client("b")];
      await Promise.all(able.map((client) => client.work(ones)));
      const ending = await f.aggregator.done;
      assert.deepEqual([ending.reason, ending.rounds], ["finished", 2]);
      assert.equal(assignsOf(cannot).length, 0);
      assert.deepEqual(changes, [{ change: "busy", reason: WHY, code: "data" }]);
      const { clients } = f.aggregator.status();
      assert.equal(clients.find(({ id }) => id === cannot.id)!.state, `cannot train: data: ${WHY}`);
    } finally {
      await f.end();
    }
  });

test("too few who can: the attempt is abandoned once, for a reason with names, and the run waits", () =>
  withOneThatCannot({ minimum: 3, pause: 1, rounds: 1 }, async (f, cannot, ends) => {
    const reasons: string[] = [];
    f.aggregator.on("abandoned", ({ reason }) => reasons.push(reason));
    const waiting = new Promise<string>((resolve) =>
      f.aggregator.on("waiting", (sentence) => sentence.includes("cannot") && resolve(sentence)),
    );
    decline(cannot, await cannot.next("assign"));
    assert.equal(await waiting, "Round 1 waits for clients: 2 of 3 are ready; 1 cannot train.");
    assert.equal(reasons.length, 1);
    assert.ok(reasons[0].endsWith(`: client ${cannot.id.slice(0, 8)} (data: ${WHY})`), reasons[0]);
    // It says that something has changed, and is asked again.
    cannot.send({ type: "ready" });
    const again = await cannot.next("assign");
    await cannot.deliver(again["assignment"], ones(0, await cannot.fetch(again["model"])));
    await ends;
    assert.equal((await f.aggregator.done).rounds, 1);
  }));

test("a client that comes back on a new connection is asked again", () =>
  withOneThatCannot({ rounds: 1, minimum: 3, pause: 1 }, async (f, cannot, ends) => {
    decline(cannot, await cannot.next("assign"));
    cannot.close();
    await cannot.untilClosed();
    const again = await f.client("cannot");
    again.send({ type: "ready" });
    const { assignment, model } = await again.next("assign");
    await again.deliver(assignment, ones(0, await again.fetch(model)));
    await ends;
  }));

test("a client whose training diverges is asked again with the next model", () =>
  withOneThatCannot({ rounds: 2 }, async (_f, cannot, ends) => {
    const first = await cannot.next("assign");
    cannot.send({ type: "failed", assignment: first["assignment"], code: "diverged" });
    const second = await cannot.next("assign");
    assert.deepEqual([second["round"], second["attempt"]], [2, 1]);
    await cannot.deliver(second["assignment"], ones(0, await cannot.fetch(second["model"])));
    await ends;
  }));

test("what is tried again is tried three times", () =>
  withOneThatCannot({ rounds: 1, pause: 1 }, async (f, cannot, ends) => {
    for (let attempt = 1; attempt <= 3; attempt++) {
      const { assignment, attempt: now } = await cannot.next("assign");
      assert.equal(now, attempt);
      cannot.send({ type: "failed", assignment, code: "trap", message: "unreachable" });
    }
    await ends;
    assert.equal((await f.aggregator.done).rounds, 1);
  }));

test("whoever cannot evaluate is not asked for it again, and trains on", () =>
  withOneThatCannot({ rounds: 3, evaluateFraction: 1 }, async (f, cannot, ends) => {
    let asked = 0;
    for (let trained = 0; trained < 3;) {
      const assign = await cannot.next("assign");
      if (assign["task"] === "evaluate") {
        asked++;
        decline(cannot, assign);
        continue;
      }
      trained++;
      await cannot.deliver(assign["assignment"], ones(0, await cannot.fetch(assign["model"])));
    }
    await ends;
    await f.aggregator.done;
    assert.equal(asked, 1);
  }));

test("where these are all the clients there will ever be, the run ends when too few can train", async () => {
  const f = await federation({ rounds: 2, gather: 2, pause: 60_000 }, { clientsAreAll: true });
  try {
    const clients = [await f.client("a"), await f.client("b")];
    for (const client of clients) client.send({ type: "ready" });
    for (const client of clients) {
      const { assignment, model } = await client.next("assign");
      await client.deliver(
        assignment,
        updateFor(await client.fetch(model), () => 1e6),
      );
    }
    const { reason, message, rounds } = await f.aggregator.done;
    assert.deepEqual([reason, rounds], ["failed", 0]);
    const why = `\\(range: "delta" has 15 numbers beyond 1024: a smaller learning rate or a clip may help\\)`;
    assert.match(
      message,
      new RegExp(
        `^too few clients can train: client [0-9a-f]{8} ${why}, client [0-9a-f]{8} ${why}$`,
      ),
    );
  } finally {
    await f.end();
  }
});
