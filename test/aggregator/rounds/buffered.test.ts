import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { buffered, type BufferedRules } from "../../../aggregator/rounds/buffered.js";
import { roundsOf, type RoundEffect, type RoundEvent } from "../../../aggregator/rounds/engine.js";
import type { Work } from "../../../aggregator/rounds/participants.js";

// The engine of buffered rounds by itself; what it has in common with the other is in
// every-engine.test.ts.

const ids = (n: number) => Array.from({ length: n }, (_, i) => `client-${i}`);
const workOf = (round: number): Work => ({ round, attempt: 1 });

const RULES: BufferedRules = {
  seed: "1",
  rounds: 100,
  buffer: 3,
  concurrency: 5,
  maxStaleness: 2,
  quorum: 1,
  minimum: 1,
  gather: 1,
  gatherDeadline: 100,
  deadline: 1000,
  pause: 50,
  storageDeadline: 200,
};

/** Drives the engine; the storage answers at once unless told otherwise. */
function drive(change: Partial<BufferedRules> = {}, storage = true) {
  const rounds = roundsOf(buffered({ ...RULES, ...change }));
  const log: RoundEffect[] = [];
  let deadline = 0;
  let awaited: RoundEvent[] = [];
  const take = (effects: readonly RoundEffect[]) => {
    for (const effect of effects) {
      log.push(effect);
      if (effect.type === "deadline") deadline = effect.number;
      if (effect.type === "begin") awaited.push({ type: "begun" });
      if (effect.type === "seal") awaited.push({ type: "gathered" });
      if (effect.type === "close") awaited.push({ type: "committed" });
    }
    if (storage) answer();
  };
  const send = (event: RoundEvent) => take(rounds.step(event));
  const answer = () => {
    const events = awaited;
    awaited = [];
    for (const event of events) send(event);
  };
  take(rounds.start(0));
  return {
    log,
    send,
    answer,
    rounds,
    roster: (connected: readonly string[], population = connected.length) =>
      send({
        type: "roster",
        roster: { ids: connected, connected, population, meanSamples: 10 },
      }),
    expire: () => send({ type: "deadline", number: deadline }),
    admit: (client: string, round: number) =>
      send({ type: "admitted", client, work: workOf(round) }),
    gone: (client: string, round: number, code = "left") =>
      send({ type: "gone", client, work: workOf(round), code }),
    of: <T extends RoundEffect["type"]>(type: T) =>
      log.filter((e): e is Extract<RoundEffect, { type: T }> => e.type === type),
    /** [client, round of its work], in the order given. */
    asked: () =>
      log.flatMap((e) => (e.type === "assign" ? [[e.client, e.work.round] as const] : [])),
  };
}

test("as many train as may; whoever is done makes room for one who is not in the buffer", () => {
  const run = drive();
  run.roster(ids(8));
  const first = run.asked().map(([client]) => client);
  assert.equal(first.length, 5);
  assert.deepEqual(
    run.of("assign").map(({ lease }) => lease),
    Array(5).fill(1000),
  );
  run.admit(first[0], 1);
  const [next, round] = run.asked()[5];
  assert.ok(!first.includes(next));
  assert.equal(round, 1);
});

test("K updates are a round; those at work go on, and their updates are as stale as the rounds since", () => {
  const run = drive();
  run.roster(ids(5));
  const [a, b, c, d, e] = run.asked().map(([client]) => client);
  for (const client of [a, b, c]) run.admit(client, 1);
  assert.equal(run.of("close").length, 1);
  assert.equal(run.of("late").length, 0);
  // The three are free for the second round, the others are at work on the first.
  assert.deepEqual(
    run
      .asked()
      .slice(5)
      .sort(([x], [y]) => (x < y ? -1 : 1)),
    [a, b, c].sort().map((client) => [client, 2]),
  );
  run.admit(d, 1);
  run.admit(e, 1);
  run.admit(a, 2);
  const [, { members }] = run.of("close");
  assert.deepEqual(
    [a, d, e].map((client) => members.get(client)),
    [2, 1, 1].map((round) => ({ status: "counted", work: workOf(round) })),
  );
  assert.deepEqual(members.get(b), { status: "asked", work: workOf(2) });
});

test("work that falls too far behind is called off at that moment", () => {
  const run = drive({ concurrency: 2, buffer: 1, maxStaleness: 1 });
  run.roster(ids(2));
  const [slow, fast] = run.asked().map(([client]) => client);
  for (const round of [1, 2]) run.admit(fast, round);
  assert.deepEqual(run.of("late"), [
    { type: "late", client: slow, work: workOf(1), code: "stale" },
  ]);
  // Its place is free, and it is ready: it is given work on the newest model.
  assert.deepEqual(run.asked().at(-1)![1], 3);
});

test("what the store counts before it seals is in the buffer; who waits meanwhile is in the next one", () => {
  const run = drive({}, false);
  run.roster(ids(5));
  run.answer();
  const clients = run.asked().map(([client]) => client);
  for (const client of clients.slice(0, 3)) run.admit(client, 1);
  run.admit(clients[3], 1);
  run.answer();
  const counted = () =>
    [...run.of("close").at(-1)!.members]
      .filter(([, { status }]) => status === "counted")
      .map(([client]) => client);
  assert.deepEqual(counted(), clients.slice(0, 4));
  run.answer();
  assert.equal(run.of("begin").length, 2);
  // The store counts it as soon as the buffer is open, before the rounds hear that it is.
  run.admit(clients[4], 1);
  run.answer();
  assert.equal(run.rounds.progress().counted, 1);
});

test("a client that vanishes is lost when its time is over, and told; its place is free", () => {
  const run = drive({ concurrency: 1 });
  run.roster(ids(2));
  const [[vanished]] = run.asked();
  run.send({ type: "expired", client: vanished, work: workOf(1) });
  assert.deepEqual(run.of("late"), [
    { type: "late", client: vanished, work: workOf(1), code: "late" },
  ]);
  assert.notEqual(run.asked()[1][0], vanished);
});

test("a client that left and comes back in time with what it has is counted", () => {
  const run = drive({ concurrency: 1, buffer: 2 });
  run.roster(ids(2));
  const [[left]] = run.asked();
  run.gone(left, 1);
  const other = run.asked()[1][0];
  assert.notEqual(other, left);
  run.send({ type: "pending", client: left, work: workOf(1) });
  assert.deepEqual(run.asked()[2], [left, 1]);
  run.admit(left, 1);
  run.admit(other, 1);
  assert.equal(run.of("close").length, 1);
  run.send({ type: "pending", client: left, work: workOf(1) });
  assert.equal(
    run.asked().filter(([client]) => client === left).length,
    3,
    "its next work, and no second time the last",
  );
});

test("a buffer is committed with those who can fill it, where the others cannot train", () => {
  const run = drive({ buffer: 3, concurrency: 3, quorum: 1 });
  run.roster(ids(3));
  const [a, b, c] = run.asked().map(([client]) => client);
  run.send({ type: "gone", client: a, work: workOf(1), code: "declined-data", barred: true });
  run.send({
    type: "roster",
    roster: { ids: [b, c], connected: [b, c], population: 3, barred: 1, meanSamples: 10 },
  });
  run.admit(b, 1);
  assert.equal(run.of("close").length, 0);
  run.admit(c, 1);
  assert.equal(run.of("close").length, 1);
});

test("whoever gave up is not asked again before the next buffer, unless nobody else is left", () => {
  const run = drive({ concurrency: 3 });
  run.roster(ids(3));
  const [a, b, c] = run.asked().map(([client]) => client);
  run.gone(a, 1, "declined-busy");
  run.send({ type: "refused", client: b, work: workOf(1), code: "norm" });
  assert.equal(run.asked().length, 3);
  run.admit(c, 1);
  assert.equal(
    run.rounds.waitsFor(),
    "Round 1 has 1 of 3 updates wanted, and rests for 50 ms before it asks those again who gave up: 2.",
  );
  run.expire();
  assert.deepEqual(
    run
      .asked()
      .slice(3)
      .map(([client]) => client)
      .sort(),
    [a, b].sort(),
  );
});

test("with fewer clients than a buffer has room for, all of them are a round", () => {
  const run = drive({ buffer: 10 });
  run.roster(ids(3));
  for (const client of ids(3)) run.admit(client, 1);
  assert.equal(run.of("close").length, 1);
});

test("a buffer that does not fill is committed at its deadline with its quorum, and stays open with less", () => {
  const run = drive({ buffer: 4, quorum: 0.5, concurrency: 4 });
  run.roster(ids(4), 10);
  const [a, b, c] = run.asked().map(([client]) => client);
  run.admit(a, 1);
  run.expire();
  assert.equal(run.of("close").length, 0);
  assert.equal(
    run.rounds.waitsFor(),
    "Round 1 has 1 of 4 updates wanted, and waits for 3 of at most 4 clients at work.",
  );
  run.admit(b, 1);
  run.expire();
  assert.equal(run.of("close").length, 1);
  // Those at work were not dismissed.
  run.admit(c, 1);
  assert.deepEqual([run.rounds.progress().round, run.rounds.progress().counted], [2, 1]);
});

test("at the end of the run those at work are told", () => {
  const run = drive({ rounds: 1 });
  run.roster(ids(5));
  const clients = run.asked().map(([client]) => client);
  for (const client of clients.slice(0, 3)) run.admit(client, 1);
  assert.deepEqual(
    run.of("late").map(({ client }) => client),
    clients.slice(3),
  );
  assert.equal(run.rounds.waitsFor(), "Nothing: all 1 rounds are done.");
});

test("work that may be with clients after a restart is that of the last rounds", () => {
  const run = drive({ maxStaleness: 2 });
  assert.deepEqual(run.rounds.outstanding(), [workOf(1)]);
  run.roster(ids(3), 3);
  for (let round = 1; round <= 4; round++) for (const client of ids(3)) run.admit(client, round);
  assert.deepEqual(run.rounds.outstanding(), [5, 4, 3].map(workOf));
});

test("each client is asked about as often as any other", () => {
  const run = drive({ rounds: 2000, concurrency: 2, buffer: 2 });
  run.roster(ids(20));
  const counts = new Map<string, number>();
  for (let at = 0; at < 2000; at++) {
    const [client, round] = run.asked()[at];
    counts.set(client, (counts.get(client) ?? 0) + 1);
    run.admit(client, round);
    if (at % 500 === 499) assert.ok(run.of("close").length > 0);
  }
  // 100 expected; five standard deviations of 9.7 to either side.
  for (const id of ids(20))
    assert.ok(Math.abs(counts.get(id)! - 100) < 50, `${id} ${counts.get(id)}`);
});

test("never more new work than may be in hand; what is counted once is in a buffer once", () => {
  const anyAct = fc.record({
    what: fc.constantFrom(
      "admitted" as const,
      "admitted" as const,
      "admitted" as const,
      "gone" as const,
      "refused" as const,
      "expired" as const,
      "deadline" as const,
      "answer" as const,
      "answer" as const,
      "roster" as const,
    ),
    who: fc.nat(20),
  });
  fc.assert(
    fc.property(
      fc.array(anyAct, { maxLength: 150 }),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 0, max: 3 }),
      (acts, buffer, concurrency, maxStaleness) => {
        const run = drive({ buffer, concurrency, maxStaleness, quorum: 0.5 }, false);
        const hand = new Map<string, Work>();
        const admitted = new Set<string>();
        let members = 0;
        let seen = 0;
        const look = () => {
          for (; seen < run.log.length; seen++) {
            const effect = run.log[seen];
            if (effect.type === "assign") {
              hand.set(effect.client, effect.work);
              assert.ok(hand.size <= concurrency);
            }
            if (effect.type === "late") hand.delete(effect.client);
            if (effect.type === "close") members += effect.members.count("counted");
          }
        };
        run.roster(ids(8));
        for (const { what, who } of acts) {
          look();
          const holders = [...hand];
          const [client, work] = holders[who % (holders.length || 1)] ?? [];
          if (what === "deadline") run.expire();
          else if (what === "answer") run.answer();
          else if (what === "roster") run.roster(ids(who % 9), 8);
          else if (client !== undefined && work !== undefined) {
            const isOpen = run.rounds.at === "buffering";
            // The store lets it wait.
            if (what === "admitted" && !isOpen) continue;
            hand.delete(client);
            if (what === "admitted") admitted.add(`${client} ${work.round}`);
            run.send({ type: what, client, work, code: "left" });
          }
        }
        for (let i = 0; i < 20; i++) run.answer();
        look();
        if (run.rounds.at === "buffering")
          assert.equal(members + run.rounds.progress().counted, admitted.size);
      },
    ),
    { numRuns: 300 },
  );
});
