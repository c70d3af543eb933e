import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { buffered } from "../../../aggregator/rounds/buffered.js";
import {
  roundsOf,
  type Attempt,
  type RoundEffect,
  type RoundEvent,
  type Rounds,
} from "../../../aggregator/rounds/engine.js";
import type { Work } from "../../../aggregator/rounds/participants.js";
import { synchronous } from "../../../aggregator/rounds/synchronous.js";
import { anyAct } from "./acts.js";

// What every engine of rounds/ must do, whatever its mode: the promises on which the aggregator
// relies.

const ROUNDS = 3;
const BUFFER = 3;
const CONCURRENCY = 4;
const STALENESS = 2;

const times = {
  gather: 2,
  gatherDeadline: 100,
  pause: 50,
  storageDeadline: 200,
};

const ENGINES: Readonly<Record<string, () => Rounds>> = {
  synchronous: () =>
    roundsOf(
      synchronous({
        ...times,
        seed: "1",
        rounds: ROUNDS,
        quorum: 0.5,
        deadline: 1000,
        selection: {
          fraction: 1,
          minimum: 2,
          overSelection: 1,
          bernoulli: false,
        },
      }),
    ),
  buffered: () =>
    roundsOf(
      buffered({
        ...times,
        seed: "1",
        rounds: ROUNDS,
        buffer: BUFFER,
        concurrency: CONCURRENCY,
        maxStaleness: STALENESS,
        quorum: 0.5,
        minimum: 2,
        deadline: 1000,
      }),
    ),
};

const ids = (n: number) => Array.from({ length: n }, (_, i) => `client-${i}`);
const rosterOf = (connected: readonly string[], population = 8): RoundEvent => ({
  type: "roster",
  roster: { ids: connected, connected, population, meanSamples: 10 },
});

/** Carries an engine's effects out as the aggregator would, and looks that they make sense. */
function drive(rounds: Rounds, { storage = true, reopened }: Options = {}) {
  const log: RoundEffect[] = [];
  let deadline = 0;
  let awaited: RoundEvent | undefined;
  let committed = (reopened?.round ?? 1) - 1;
  /**
   * What each client was given or has said that it has, by the work's name; gone once it has come
   * to an end.
   */
  const given = new Map<string, { client: string; work: Work }>();
  /** Everything that was ever counted. */
  const folded = new Set<string>();
  /** What the store knows of the attempt: whether it counts updates, and whose it has. */
  const round = {
    open: committed + 1,
    goal: reopened?.goal ?? 0,
    counts: reopened !== undefined,
    members: new Map<string, Work>(),
  };
  const nameOf = (client: string, work: Work) => `${client} ${work.round} ${work.attempt}`;

  function take(effects: readonly RoundEffect[]): void {
    for (const effect of effects) {
      log.push(effect);
      switch (effect.type) {
        case "deadline":
          assert.ok(effect.after > 0);
          assert.ok(effect.number > deadline, "deadlines are counted up");
          deadline = effect.number;
          break;
        case "begin":
          assert.equal(effect.open.round, committed + 1);
          assert.ok(!rounds.held, "opened during a hold");
          round.open = effect.open.round;
          round.goal = effect.open.goal;
          round.members = new Map();
          awaited = { type: "begun" };
          break;
        case "assign":
          assert.ok(effect.work.round <= round.open);
          given.set(nameOf(effect.client, effect.work), effect);
          break;
        case "seal":
          round.counts = round.members.size < effect.least;
          awaited = { type: round.counts ? "short" : "gathered" };
          break;
        case "late":
          given.delete(nameOf(effect.client, effect.work));
          break;
        case "close": {
          const counted = [...effect.members]
            .filter(([, { status }]) => status === "counted")
            .map(([client, { work }]) => nameOf(client, work));
          assert.equal(counted.length, round.members.size);
          assert.ok(counted.length > 0);
          for (const name of counted) assert.ok(folded.has(name));
          awaited = { type: "committed" };
          break;
        }
        case "abandon":
          round.members = new Map();
          round.counts = false;
          given.clear();
          break;
      }
    }
    const over = rounds.at === "finished" || rounds.at === "stopped";
    assert.match(rounds.waitsFor(), /^[A-Z].*\.$/);
    assert.ok(over || rounds.retryAfter("x") > 0);
    if (storage) answer();
  }

  function send(event: RoundEvent): void {
    if (event.type === "committed") committed++;
    if (event.type === "begun") round.counts = true;
    take(rounds.step(event));
  }

  /** A client's update is whole: the store counts it, or lets it wait. */
  function claim(client: string, work: Work): void {
    const name = nameOf(client, work);
    const behind = round.open - work.round;
    if (!given.has(name) || folded.has(name) || round.members.has(client)) return;
    if (!round.counts || behind < 0 || behind > rounds.maxStaleness) return;
    folded.add(name);
    round.members.set(client, work);
    given.delete(name);
    if (round.members.size === round.goal) round.counts = false;
    send({ type: "admitted", client, work });
  }

  /** The leaf is lost that had folded one of the updates, unless all were gathered. */
  function lose(who: number): void {
    const [client, work] = [...round.members][who % round.members.size] ?? [];
    if (client === undefined || work === undefined || rounds.at === "committing") return;
    folded.delete(nameOf(client, work));
    round.members.delete(client);
    given.set(nameOf(client, work), { client, work });
    round.counts = true;
    if (awaited?.type === "gathered" || awaited?.type === "short") awaited = undefined;
    send({ type: "returned", client, work });
  }

  function answer(): void {
    const event = awaited;
    awaited = undefined;
    if (event !== undefined) send(event);
  }

  take(rounds.start(committed, reopened));
  return {
    rounds,
    log,
    send,
    answer,
    claim,
    lose,
    given,
    get committed() {
      return committed;
    },
    get deadline() {
      return deadline;
    },
    expire: () => send({ type: "deadline", number: deadline }),
    /** Clients deliver what they have in hand, at most so many. */
    deliver(most = Infinity): void {
      for (const { client, work } of [...given.values()].slice(0, most)) claim(client, work);
    },
    of: <T extends RoundEffect["type"]>(type: T) =>
      log.filter((e): e is Extract<RoundEffect, { type: T }> => e.type === type),
  };
}
interface Options {
  readonly storage?: boolean;
  readonly reopened?: Attempt;
}

const reopened: Attempt = {
  round: 2,
  attempt: 1,
  selected: ids(3),
  goal: 3,
  population: 8,
  meanSamples: 10,
};

for (const [name, engine] of Object.entries(ENGINES)) {
  test(`${name}: clients that deliver end the run`, () => {
    const run = drive(engine());
    run.send(rosterOf(ids(3), 3));
    for (let i = 0; i < ROUNDS; i++) run.deliver();
    assert.deepEqual(run.of("finished"), [{ type: "finished", round: ROUNDS }]);
    assert.equal(run.committed, ROUNDS);
  });

  test(`${name}: nobody is given work before the attempt is in the journal`, () => {
    const run = drive(engine(), { storage: false });
    run.send(rosterOf(ids(3)));
    assert.deepEqual([run.of("begin").length, run.of("assign").length], [1, 0]);
    run.answer();
    assert.ok(run.of("assign").length > 0);
  });

  test(`${name}: no client sends anything: the deadline comes, and work is given anew`, () => {
    const run = drive(engine());
    run.send(rosterOf(ids(3), 3));
    for (const { client, work } of [...run.given.values()])
      run.send({ type: "gone", client, work, code: "declined-busy" });
    const before = run.of("assign").length;
    for (let i = 0; i < 3; i++) run.expire();
    assert.ok(run.of("assign").length > before);
    run.deliver();
    assert.equal(run.committed, 1);
  });

  test(`${name}: a restart goes on with the attempt that the journal names`, () => {
    const run = drive(engine(), { reopened });
    run.send(rosterOf(ids(3), 3));
    assert.equal(run.of("begin").length, 0);
    run.deliver();
    assert.equal(run.committed, 2);
  });

  for (const at of ["begin", "close"] as const) {
    const until = () => {
      const run = drive(engine(), { storage: false });
      run.send(rosterOf(ids(3), 3));
      if (at === "close") {
        run.answer();
        run.deliver();
        run.answer();
      }
      assert.equal(run.log.filter(({ type }) => type === at).length, 1);
      return run;
    };

    test(`${name}: a storage that does not answer after ${at} ends the run with a sentence`, () => {
      const run = until();
      run.expire();
      assert.deepEqual(run.of("stopped"), [
        {
          type: "stopped",
          reason: "the storage did not answer within 200 ms",
          failed: true,
        },
      ]);
    });

    test(`${name}: a full disk is waited for after ${at}, saying so`, () => {
      const rounds = engine();
      const run = drive(rounds, { storage: false });
      run.send(rosterOf(ids(3), 3));
      if (at === "close") {
        run.answer();
        run.deliver();
        run.answer();
      }
      const before = run.deadline;
      run.send({ type: "paused", reason: "the disk is full" });
      assert.equal(run.deadline, before + 1);
      assert.match(rounds.waitsFor(), /storage.*: the disk is full\.$/);
      run.answer();
      assert.equal(run.of("stopped").length, 0);
    });

    test(`${name}: a storage that fails after ${at} ends the run`, () => {
      const run = until();
      run.send({ type: "broken", reason: "gone" });
      assert.match(run.rounds.waitsFor(), /stopped after round 0 \(gone\)/);
      assert.deepEqual(run.of("stopped"), [{ type: "stopped", reason: "gone", failed: true }]);
    });
  }

  test(`${name}: what a lost leaf had folded is waited for again, also after the seal`, () => {
    const run = drive(engine(), { storage: false });
    run.send(rosterOf(ids(3), 3));
    run.answer();
    run.deliver();
    assert.equal(run.rounds.at, "sealing");
    const { length } = run.of("assign");
    run.lose(1);
    assert.notEqual(run.rounds.at, "sealing");
    assert.equal(run.rounds.progress().counted, 2);
    assert.equal(run.of("late").length, 0);
    run.deliver();
    run.answer();
    run.answer();
    assert.deepEqual(
      [run.committed, run.of("assign").length, run.of("seal").length],
      [1, length, 2],
    );
  });

  test(`${name}: draining finishes the round in progress and opens no other`, () => {
    const run = drive(engine());
    run.send(rosterOf(ids(3), 3));
    run.send({ type: "drain" });
    run.deliver();
    assert.deepEqual([run.committed, run.of("begin").length, run.of("stopped").length], [1, 1, 1]);
  });

  test(`${name}: a hold finishes the round in progress and opens no other before the release, nor after it with too few`, () => {
    const rounds = engine();
    const run = drive(rounds);
    run.send(rosterOf(ids(3), 3));
    run.send({ type: "hold" });
    assert.match(rounds.waitsFor(), / Then the run pauses\.$/);
    run.deliver();
    for (let i = 0; i < 3; i++) run.expire();
    assert.equal(
      rounds.waitsFor(),
      "Round 2 is paused until somebody lets it begin: 3 clients are ready.",
    );
    assert.deepEqual([run.committed, run.of("begin").length], [1, 1]);
    assert.deepEqual(rounds.progress(), {
      round: 2,
      attempt: 1,
      counted: 0,
      goal: 0,
    });
    run.send(rosterOf([]));
    run.send({ type: "release" });
    assert.equal(run.of("begin").length, 1);
    run.send(rosterOf(ids(3), 3));
    assert.equal(run.of("begin").length, 2);
  });

  test(`${name}: a run that begins held awaits as many clients as it should, however long the hold was`, () => {
    const run = drive(engine());
    run.send({ type: "hold" });
    run.expire();
    run.send({ type: "release" });
    run.send(rosterOf(ids(1)));
    assert.equal(run.of("begin").length, 0);
    run.send(rosterOf(ids(2)));
    assert.equal(run.of("begin").length, 1);
  });

  test(`${name}: a drain during a hold ends the run`, () => {
    const run = drive(engine());
    run.send({ type: "hold" });
    run.send({ type: "drain" });
    assert.equal(run.of("stopped").length, 1);
  });

  test(`${name}: draining with nobody at work ends at once`, () => {
    const run = drive(engine());
    run.send({ type: "drain" });
    assert.deepEqual(run.of("stopped"), [{ type: "stopped", reason: "drained", failed: false }]);
  });

  test(`${name}: what the storage is writing down is written down before a stop`, () => {
    const run = drive(engine(), { storage: false });
    run.send(rosterOf(ids(3), 3));
    run.answer();
    run.deliver();
    run.send({ type: "stop", reason: "now" });
    run.answer();
    assert.equal(run.of("stopped").length, 0);
    run.answer();
    assert.deepEqual([run.committed, run.of("stopped").length], [1, 1]);
  });

  test(`${name}: whatever happens, a deadline is armed or the run is over, and each update is counted once or told`, () => {
    fc.assert(
      fc.property(fc.array(anyAct(8), { maxLength: 120 }), (acts) => {
        const rounds = engine();
        const run = drive(rounds, { storage: false });
        const old: { client: string; work: Work }[] = [];
        const over = () => rounds.at === "finished" || rounds.at === "stopped";
        for (const act of acts) {
          const hand = [...run.given.values()];
          switch (act.do) {
            case "roster":
              run.send(rosterOf(ids(act.n)));
              break;
            case "answer":
              run.answer();
              break;
            case "expire":
              run.expire();
              break;
            case "hold":
            case "release":
              run.send({ type: act.do });
              break;
            case "lose":
              run.lose(act.who);
              break;
            case "stale": {
              const { length } = run.log;
              run.send({ type: "deadline", number: run.deadline - 1 });
              assert.equal(run.log.length, length);
              break;
            }
            case "client": {
              const from = act.old ? old : hand;
              if (from.length === 0) break;
              const { client, work } = from[act.who % from.length];
              if (!act.old) old.push({ client, work });
              if (act.what === "admitted") run.claim(client, work);
              else
                run.send(
                  act.what === "back"
                    ? { type: "back", client }
                    : { type: act.what, client, work, code: "left", barred: act.barred },
                );
            }
          }
        }
        // Left alone with a storage that answers and nobody there, it comes to rest by its
        // deadlines.
        run.send(rosterOf([]));
        for (let i = 0; i < 12 && !over(); i++) {
          run.answer();
          if (over()) break;
          run.send({ type: "drain" });
          for (const { client, work } of [...run.given.values()])
            run.send({ type: "expired", client, work });
          const before = run.deadline;
          run.expire();
          assert.ok(over() || run.deadline > before, "no deadline is armed");
        }
        assert.ok(over(), rounds.waitsFor());
      }),
      { numRuns: 300 },
    );
  });
}
