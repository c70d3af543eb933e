import { test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import type { RoundEffect, RoundEvent } from "../../../aggregator/rounds/engine.js";
import type { Work } from "../../../aggregator/rounds/participants.js";
import {
  retryAfter,
  start,
  step,
  waitsFor,
  type RoundRules,
  type RoundState,
} from "../../../aggregator/rounds/synchronous.js";
import { select, type Selection } from "../../../aggregator/rounds/selection.js";
import { anyAct } from "./acts.js";

const ids = (n: number) =>
  Array.from({ length: n }, (_, i) => `client-${String(i).padStart(4, "0")}`);

const everybody: Selection = {
  fraction: 1,
  minimum: 1,
  overSelection: 1,
  bernoulli: false,
};

const rulesWith = (change: Partial<RoundRules> = {}): RoundRules => ({
  seed: "1",
  rounds: 3,
  quorum: 0.5,
  deadline: 1000,
  selection: everybody,
  gather: 1,
  gatherDeadline: 100,
  pause: 50,
  storageDeadline: 200,
  ...change,
});

/** Drives the machine; storage answers at once unless told otherwise. */
function drive(rules: RoundRules, storage = true) {
  const log: RoundEffect[] = [];
  let { state, effects } = start(rules, 0);
  const take = (given: readonly RoundEffect[]) => {
    for (const effect of given) {
      log.push(effect);
      if (storage && effect.type === "begin") send({ type: "begun" });
      if (storage && effect.type === "seal")
        send({ type: counted() >= effect.least ? "gathered" : "short" });
      if (storage && effect.type === "close") send({ type: "committed" });
    }
  };
  const counted = () => state.members?.count("counted") ?? 0;
  const send = (event: RoundEvent) => {
    const result = step(rules, state, event);
    state = result.state;
    take(result.effects);
  };
  take(effects);
  return {
    log,
    send,
    get state() {
      return state;
    },
    roster: (n: number) =>
      send({
        type: "roster",
        roster: { ids: ids(n), connected: ids(n), population: n, meanSamples: 10 },
      }),
    expire: () => send({ type: "deadline", number: state.deadline }),
    work: (): Work => {
      assert.equal(state.at, "collecting");
      if (state.at !== "collecting") throw new Error();
      const { round, attempt } = state.open;
      return { round, attempt };
    },
    of: <T extends RoundEffect["type"]>(type: T) =>
      log.filter((e): e is Extract<RoundEffect, { type: T }> => e.type === type),
  };
}

test("a round: assigned to all, sealed when all have come, committed, next round", () => {
  const run = drive(rulesWith());
  run.roster(3);
  assert.deepEqual(
    run.of("assign").map((e) => e.client),
    ids(3),
  );
  const work = run.work();
  for (const client of ids(3).reverse()) run.send({ type: "admitted", client, work });
  assert.deepEqual([run.of("seal").length, run.of("close").length], [1, 1]);
  assert.deepEqual(run.work(), { round: 2, attempt: 1 });
});

test("the last round ends the run", () => {
  const run = drive(rulesWith({ rounds: 2 }));
  run.roster(1);
  for (let i = 0; i < 2; i++) run.send({ type: "admitted", client: ids(1)[0], work: run.work() });
  assert.equal(run.state.at, "finished");
  assert.deepEqual(run.of("finished"), [{ type: "finished", round: 2 }]);
});

test("over-selection: the round closes at the goal and tells the others they are late", () => {
  const run = drive(rulesWith({ selection: { ...everybody, count: 10, overSelection: 1.3 } }));
  run.roster(100);
  const asked = run.of("assign").map((e) => e.client);
  assert.equal(asked.length, 13);
  const work = run.work();
  for (const client of asked.slice(0, 10)) run.send({ type: "admitted", client, work });
  assert.deepEqual(
    run.of("late").map((e) => e.client),
    asked.slice(10),
  );
});

test("what the store counts before it seals is in the round; nobody is told before all is gathered", () => {
  const run = drive(rulesWith({ quorum: 0.5 }), false);
  run.roster(4);
  run.send({ type: "begun" });
  const work = run.work();
  const [a, b, c] = ids(4);
  for (const client of [a, b]) run.send({ type: "admitted", client, work });
  run.expire();
  assert.deepEqual(
    run.of("seal").map(({ least }) => least),
    [2],
  );
  run.send({ type: "admitted", client: c, work });
  assert.equal(run.of("late").length, 0);
  run.send({ type: "gathered" });
  const [{ members }] = run.of("close");
  assert.deepEqual(
    [...members.values()].map(({ status }) => status),
    ["counted", "counted", "counted", "late"],
  );
  assert.equal(run.of("late").length, 1);
});

test("an attempt of which too few updates are counted when it is sealed is abandoned", () => {
  const run = drive(rulesWith(), false);
  run.roster(2);
  run.send({ type: "begun" });
  run.expire();
  assert.equal(run.of("abandon").length, 0, "the store may know of more");
  run.send({ type: "short" });
  assert.match(run.of("abandon")[0].reason, /^0 of 1 updates needed .* were there at the deadline/);
});

test("with the quorum at the deadline the round closes, without it the attempt is abandoned", () => {
  const run = drive(rulesWith());
  run.roster(4);
  for (const client of ids(2)) run.send({ type: "admitted", client, work: run.work() });
  run.expire();
  assert.equal(run.of("close").length, 1);
  const members = run.of("close")[0].members;
  assert.deepEqual(
    [...members.values()].map((m) => m.status),
    ["counted", "counted", "late", "late"],
  );
  run.send({ type: "admitted", client: ids(1)[0], work: run.work() });
  run.expire();
  const [abandoned] = run.of("abandon");
  // Their ids begin alike.
  const late = "client client-0 (late)";
  assert.equal(
    abandoned.reason,
    `1 of 2 updates needed (quorum 0.5 of 4) were there at the deadline: ${late}, ${late}, ${late}`,
  );
  assert.deepEqual(
    [abandoned.open.round, abandoned.open.attempt, run.state.at],
    [2, 1, "gathering"],
  );
  run.expire();
  assert.deepEqual(run.work(), { round: 2, attempt: 2 });
});

test("clients that leave are looked at again: nobody waits for them until the deadline", () => {
  const run = drive(rulesWith());
  run.roster(4);
  const [a, b, c, d] = ids(4);
  const work = run.work();
  run.send({ type: "gone", client: a, work, code: "left" });
  run.send({ type: "refused", client: b, work, code: "finite" });
  run.send({ type: "admitted", client: c, work });
  assert.equal(run.of("close").length, 0);
  run.send({ type: "admitted", client: d, work });
  assert.equal(run.of("close").length, 1, "all that can come have come");
  run.send({ type: "gone", client: a, work: run.work(), code: "left" });
  run.send({ type: "gone", client: b, work: run.work(), code: "left" });
  run.send({ type: "gone", client: c, work: run.work(), code: "left" });
  assert.equal(run.of("abandon").length, 1, "the quorum is out of reach");
});

test("a client that cannot train now or later is no part of the quorum: those who can make the round", () => {
  const needsAll: Partial<RoundRules> = {
    quorum: 1,
    deadline: 1000,
    selection: { ...everybody, minimum: 2 },
  };
  const run = drive(rulesWith(needsAll));
  run.roster(4);
  const [a, b, c, d] = ids(4);
  const work = run.work();
  run.send({ type: "gone", client: a, work, code: "declined-data", barred: true });
  run.send({ type: "admitted", client: b, work });
  run.send({ type: "refused", client: c, work, code: "range", barred: true });
  assert.equal(run.of("close").length, 0);
  run.send({ type: "admitted", client: d, work });
  assert.equal(run.of("close").length, 1);
  // The minimum stays: with one left the attempt is abandoned, and says for whom.
  const next = run.work();
  for (const client of [a, b])
    run.send({
      type: "gone",
      client,
      work: next,
      code: "declined-data",
      reason: "data: no rabbit is known here",
      barred: true,
    });
  assert.equal(run.of("abandon").length, 0);
  run.send({ type: "gone", client: c, work: next, code: "left" });
  const [{ reason }] = run.of("abandon");
  assert.match(reason, /^0 of 2 updates needed were there, and only 1 more could come: client /);
  assert.match(reason, /\(data: no rabbit is known here\), client client-0 \(left\)$/);
});

test("a lost client that comes back in time is asked again and counted", () => {
  const run = drive(rulesWith());
  run.roster(3);
  const [a] = ids(3);
  const work = run.work();
  run.send({ type: "gone", client: a, work, code: "left" });
  run.send({ type: "back", client: a });
  assert.equal(run.of("assign").length, 4);
  for (let i = 0; i < 2; i++) run.send({ type: "admitted", client: a, work });
  assert.equal(run.state.members?.count("counted"), 1, "never twice");
});

test("before the first round more clients are awaited; after the deadline the minimum will do", () => {
  const run = drive(rulesWith({ gather: 10 }));
  run.roster(4);
  assert.equal(
    waitsFor(rulesWith({ gather: 10 }), run.state),
    "Round 1 waits for clients: 4 of 10 are ready.",
  );
  run.expire();
  assert.equal(run.state.at, "collecting");
});

test("a restart reopens the attempt that the journal names", () => {
  const rules = rulesWith();
  const open = {
    round: 2,
    attempt: 3,
    selected: ids(2),
    goal: 2,
    population: 7,
    meanSamples: 5,
  };
  const { state, effects } = start(rules, 1, open);
  assert.equal(state.at, "collecting");
  assert.deepEqual(
    effects.filter((e) => e.type === "assign").map((e) => e.client),
    ids(2),
  );
});

test("a storage that does not answer, or fails, ends the run with a sentence", () => {
  const run = drive(rulesWith(), false);
  run.roster(1);
  run.expire();
  assert.deepEqual(run.of("stopped"), [
    {
      type: "stopped",
      reason: "the storage did not answer within 200 ms",
      failed: true,
    },
  ]);
});

test("a full disk is waited for, saying so", () => {
  const run = drive(rulesWith(), false);
  run.roster(1);
  const before = run.state.deadline;
  run.send({ type: "paused", reason: "the disk is full" });
  assert.equal(run.state.deadline, before + 1);
  assert.equal(
    waitsFor(rulesWith(), run.state),
    "Round 1 waits for the storage to write down attempt 1: the disk is full.",
  );
  run.send({ type: "begun" });
  assert.equal(run.state.at, "collecting");
});

test("draining finishes the round in progress and opens no other", () => {
  const run = drive(rulesWith());
  run.roster(1);
  run.send({ type: "drain" });
  run.send({ type: "admitted", client: ids(1)[0], work: run.work() });
  assert.deepEqual([run.state.at, run.of("close").length], ["stopped", 1]);
});

test("a hold outlives the rest after an abandoned attempt", () => {
  const run = drive(rulesWith());
  run.roster(2);
  for (const client of ids(2)) run.send({ type: "gone", client, code: "left", work: run.work() });
  run.send({ type: "hold" });
  run.expire();
  assert.deepEqual([run.state.at, run.state.held], ["gathering", true]);
  run.send({ type: "release" });
  assert.equal(run.state.at, "collecting");
});

const anySelection: fc.Arbitrary<Selection> = fc.record(
  {
    fraction: fc.double({ min: 0.001, max: 1, noNaN: true }),
    count: fc.integer({ min: 1, max: 12 }),
    minimum: fc.integer({ min: 1, max: 5 }),
    overSelection: fc.double({ min: 1, max: 2, noNaN: true }),
    bernoulli: fc.boolean(),
  },
  { requiredKeys: ["fraction", "minimum", "overSelection", "bernoulli"] },
);

test("selection: sorted, without repetition, enough, and decided by seed, round and attempt alone", () => {
  fc.assert(
    fc.property(
      anySelection,
      fc.integer({ min: 0, max: 60 }),
      fc.integer({ min: 1, max: 9 }),
      (selection, n, round) => {
        const drawn = select(ids(n), selection, "s", round, 1);
        if (n < selection.minimum) return assert.equal(drawn, undefined);
        assert.ok(drawn);
        const { selected, goal } = drawn;
        assert.deepEqual(selected, [...new Set(selected)].sort());
        assert.ok(selected.length >= 1 && goal >= 1);
        assert.ok(goal <= selected.length);
        if (!selection.bernoulli) assert.ok(goal >= Math.min(selection.minimum, n));
        assert.deepEqual(select(ids(n), selection, "s", round, 1), drawn);
      },
    ),
  );
});

test("selection: each client is drawn about as often as any other", () => {
  for (const bernoulli of [false, true]) {
    const counts = new Map<string, number>();
    for (let round = 1; round <= 2000; round++)
      for (const id of select(
        ids(20),
        { ...everybody, fraction: 0.1, bernoulli },
        "fair",
        round,
        1,
      )!.selected)
        counts.set(id, (counts.get(id) ?? 0) + 1);
    // 200 expected, standard deviation 13.4 (Bernoulli: 228 by the redraws, about 14); five of them
    // to either side.
    for (const id of ids(20))
      assert.ok(
        Math.abs(counts.get(id)! - (bernoulli ? 228 : 200)) < 70,
        `${id} ${counts.get(id)}`,
      );
  }
});

test("whatever happens: one deadline is armed or the run is over, every client asked comes to an end, who is counted is a member", () => {
  fc.assert(
    fc.property(fc.array(anyAct(12), { maxLength: 120 }), anySelection, (acts, selection) => {
      const rules = rulesWith({ selection, rounds: 4, quorum: 0.6, deadline: 9 });
      let armed = 0;
      let awaited: RoundEvent | undefined;
      /** Those whom the store has counted. */
      let counted = new Set<string>();
      let committed = 0;
      let old: Work = { round: 1, attempt: 1 };
      let { state, effects } = start(rules, 0);
      const look = (given: readonly RoundEffect[]) => {
        for (const effect of given)
          switch (effect.type) {
            case "deadline":
              assert.ok(effect.after > 0);
              armed = effect.number;
              break;
            case "begin":
              assert.equal(state.held, false, "opened during a hold");
              awaited = { type: "begun" };
              counted = new Set();
              assert.equal(effect.open.round, committed + 1);
              break;
            case "seal":
              awaited = { type: counted.size >= effect.least ? "gathered" : "short" };
              break;
            case "close":
            case "abandon": {
              const ends = [...effect.members];
              assert.deepEqual(ends.map(([id]) => id).sort(), effect.open.selected);
              for (const [, { status }] of ends) assert.notEqual(status, "asked");
              const members = ends.filter(([, m]) => m.status === "counted");
              assert.deepEqual(members.map(([id]) => id).sort(), [...counted].sort());
              counted = new Set();
              if (effect.type === "close") {
                assert.ok(members.length > 0);
                awaited = { type: "committed" };
              }
              break;
            }
          }
        const over = state.at === "finished" || state.at === "stopped";
        assert.ok(over || armed === state.deadline, "no deadline is armed");
        assert.match(waitsFor(rules, state), /^[A-Z].*\.$/);
        assert.ok(over || retryAfter(rules, state, "x") > 0);
      };
      const send = (event: RoundEvent) => {
        if (event.type === "committed" && state.at === "committing") committed++;
        ({ state, effects } = step(rules, state, event));
        look(effects);
      };
      look(effects);
      for (const act of acts)
        switch (act.do) {
          case "roster":
            send({
              type: "roster",
              roster: {
                ids: ids(act.n),
                connected: ids(act.n),
                population: 12,
                meanSamples: 3,
              },
            });
            break;
          case "answer":
            if (awaited !== undefined) send(awaited);
            awaited = undefined;
            break;
          case "expire":
            send({ type: "deadline", number: armed });
            break;
          case "hold":
          case "release":
            send({ type: act.do });
            break;
          case "lose": {
            const [client] = [...counted];
            if (client === undefined || state.at === "committing") break;
            counted.delete(client);
            if (awaited?.type === "gathered" || awaited?.type === "short") awaited = undefined;
            send({ type: "returned", client, work: state.open! });
            break;
          }
          case "stale":
            send({ type: "deadline", number: armed - 1 });
            break;
          case "client": {
            const client = ids(13)[act.who];
            const now: Work =
              state.at === "collecting"
                ? {
                    round: state.open.round,
                    attempt: state.open.attempt,
                  }
                : old;
            const work = act.old ? old : now;
            if (!act.old) old = now;
            if (act.what === "admitted") {
              // The store counts those who are asked, and nobody twice.
              const status = state.members?.get(client)?.status;
              const isAsked = status === "asked" || status === "lost";
              const { open } = state;
              if (state.at !== "collecting" || !isAsked || open?.attempt !== work.attempt) break;
              if (open.round !== work.round) break;
              counted.add(client);
            }
            send(
              act.what === "back"
                ? { type: "back", client }
                : { type: act.what, client, work, code: "x", barred: act.barred },
            );
          }
        }
      // Left alone with its deadlines and an empty roster, it comes to rest: gathering, or over.
      send({
        type: "roster",
        roster: { ids: [], connected: [], population: 12, meanSamples: 3 },
      });
      for (let i = 0; i < 6; i++) send({ type: "deadline", number: armed });
      assert.ok(["gathering", "finished", "stopped"].includes((state as RoundState).at));
    }),
    { numRuns: 500 },
  );
});

test("a round is not committed with fewer updates than can be combined, whatever its quorum", () => {
  const run = drive(rulesWith({ quorum: 0.5, least: 3 }));
  run.roster(4);
  const work = { round: 1, attempt: 1 };
  const [a, b, c, d] = ids(4);
  for (const client of [a, b]) run.send({ type: "admitted", client, work });
  for (const client of [c, d]) run.send({ type: "gone", client, work, code: "left" });
  const abandoned = run.log.find(({ type }) => type === "abandon");
  assert.match(abandoned?.type === "abandon" ? abandoned.reason : "", /2 of 3 updates needed/);
  const least = drive(rulesWith({ quorum: 0.5, least: 3 }));
  least.roster(2);
  for (const client of [a, b]) least.send({ type: "admitted", client, work });
  assert.equal(least.log.filter(({ type }) => type === "close").length, 0);
});
