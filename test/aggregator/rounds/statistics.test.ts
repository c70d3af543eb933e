import assert from "node:assert/strict";
import { test } from "node:test";
import { buffered } from "../../../aggregator/rounds/buffered.js";
import { roundsOf, type RoundEffect, type RoundEvent } from "../../../aggregator/rounds/engine.js";
import { statisticsFirst } from "../../../aggregator/rounds/statistics.js";
import { synchronous } from "../../../aggregator/rounds/synchronous.js";

const RULES = {
  seed: "1",
  rounds: 2,
  quorum: 0.5,
  deadline: 1000,
  gather: 3,
  gatherDeadline: 100,
  pause: 50,
  storageDeadline: 200,
};
const SELECTION = { fraction: 1, minimum: 2, overSelection: 1, bernoulli: false };
const MODES = {
  synchronous: synchronous({ ...RULES, selection: SELECTION }),
  buffered: buffered({ ...RULES, buffer: 2, concurrency: 4, maxStaleness: 2, minimum: 2 }),
};

const WORK = { round: 1, attempt: 1, phase: "statistics" } as const;
const rosterOf = (ids: readonly string[], barred = 0): RoundEvent => ({
  type: "roster",
  roster: { ids, connected: ids, population: 4, meanSamples: 10, barred },
});

function begun(mode: keyof typeof MODES = "synchronous", mayDoWithout = false) {
  const engine = MODES[mode];
  const phase = { ...RULES, selection: SELECTION };
  const rounds =
    "outstanding" in engine && mode === "buffered"
      ? roundsOf(statisticsFirst(phase, MODES.buffered, mayDoWithout))
      : roundsOf(statisticsFirst(phase, MODES.synchronous, mayDoWithout));
  const effects: RoundEffect[] = [...rounds.start(0)];
  let deadline = 0;
  /** The store seals as soon as it is asked. */
  const note = (more: readonly RoundEffect[]) => {
    effects.push(...more);
    for (const effect of more) {
      if (effect.type === "deadline") deadline = effect.number;
      const counted = rounds.progress().counted;
      if (effect.type === "seal")
        note(rounds.step({ type: counted >= effect.least ? "gathered" : "short" }));
    }
  };
  note(effects.splice(0));
  return {
    rounds,
    effects,
    send: (...events: RoundEvent[]) => events.forEach((event) => note(rounds.step(event))),
    expire: () => note(rounds.step({ type: "deadline", number: deadline })),
    of: (type: RoundEffect["type"]) => effects.filter((effect) => effect.type === type),
    admitted: (client: string): RoundEvent => ({ type: "admitted", client, work: WORK }),
  };
}

for (const mode of ["synchronous", "buffered"] as const)
  test(`${mode} rounds begin once statistics are committed, with those who can train`, () => {
    const run = begun(mode);
    run.send(rosterOf(["a", "b"], 1), { type: "begun" });
    assert.deepEqual(
      run.of("assign").map((effect) => "work" in effect && effect.work),
      [WORK, WORK],
    );
    run.send(run.admitted("a"), run.admitted("b"));
    const [close] = run.of("close");
    assert.equal(close.type === "close" && close.open.phase, "statistics");
    assert.equal(run.of("begin").length, 1);
    assert.equal(run.rounds.phase, "statistics");
    run.send({ type: "committed" });
    assert.equal(run.rounds.phase, undefined);
    assert.equal(run.of("begin").length, 1, "nobody is drawn from the roster of the statistics");
    run.send(rosterOf(["a", "b", "c"]));
    const begin = run.of("begin")[1];
    assert.ok(begin.type === "begin" && begin.open.round === 1 && begin.open.phase === undefined);
  });

test("a client that comes too late with its statistics is told, and is not in them", () => {
  const run = begun();
  run.send(rosterOf(["a", "b", "c", "d"]), { type: "begun" }, run.admitted("a"), run.admitted("b"));
  run.expire();
  const [close] = run.of("close");
  assert.ok(close.type === "close");
  assert.deepEqual(
    [...close.members].map(([id, { status }]) => `${id} ${status}`),
    ["a counted", "b counted", "c late", "d late"],
  );
  assert.deepEqual(
    run.of("late").map((effect) => "client" in effect && effect.client),
    ["c", "d"],
  );
});

test("a client that cannot give statistics is not waited for", () => {
  const run = begun();
  run.send(rosterOf(["a", "b", "c"]), { type: "begun" }, run.admitted("a"), run.admitted("b"));
  run.send({ type: "gone", client: "c", work: WORK, code: "declined-data", barred: true });
  assert.equal(run.of("close").length, 1);
});

test("too few statistics are asked for again, and the sentence says what is missing", () => {
  const run = begun();
  run.send(rosterOf(["a", "b", "c"]), { type: "begun" }, run.admitted("a"));
  assert.match(
    run.rounds.waitsFor(),
    /^Round 1, attempt 1 \(statistics\) has 1 of 3 answers wanted, 2 needed, and waits for b, c\.$/,
  );
  run.expire();
  assert.equal(run.of("abandon").length, 1);
  run.send(rosterOf(["a"], 2));
  run.expire();
  assert.match(
    run.rounds.waitsFor(),
    /^Round 1 \(statistics\) waits for clients: 1 of 2 are ready; 2 cannot give statistics \(--normalise none begins without\)\.$/,
  );
  run.send(rosterOf(["a", "d"], 2), { type: "begun" });
  const again = { ...WORK, attempt: 2 };
  run.send(run.admitted("a"));
  assert.equal(run.of("close").length, 0, "what was said in another attempt does not count");
  for (const client of ["a", "d"]) run.send({ type: "admitted", client, work: again });
  assert.equal(run.of("close").length, 1);
});

for (const mode of ["synchronous", "buffered"] as const)
  test(`${mode} rounds that may do without begin once too few of those who came can give statistics`, () => {
    const run = begun(mode, true);
    run.send(rosterOf(["a", "b", "c"]), { type: "begun" });
    for (const client of ["a", "b", "c"]) {
      run.send(rosterOf(["a", "b", "c"].slice(1), 1));
      run.send({ type: "gone", client, work: WORK, code: "declined-data", barred: true });
    }
    assert.equal(run.of("abandon").length, 1);
    run.send(rosterOf(["d"], 1));
    run.expire();
    assert.equal(run.rounds.phase, undefined, "one of two who are needed, and one who cannot");
    assert.deepEqual(run.of("without"), [{ type: "without", phase: "statistics" }]);
    run.send(rosterOf(["a", "b", "c"]));
    const last = run.of("begin").at(-1);
    assert.ok(last?.type === "begin" && last.open.round === 1 && last.open.phase === undefined);
  });

test("rounds that may do without still wait for those who have not come, and for a release", () => {
  const waiting = begun("synchronous", true);
  waiting.send(rosterOf([], 1));
  waiting.expire();
  assert.equal(waiting.rounds.phase, "statistics", "one client is not enough for a round");
  waiting.send({ type: "hold" }, rosterOf([], 3));
  assert.equal(waiting.rounds.phase, "statistics");
  waiting.send({ type: "release" });
  assert.equal(waiting.rounds.phase, undefined);
});

test("a pause, a drain and a stop hold for the statistics too", () => {
  const held = begun();
  held.send({ type: "hold" }, rosterOf(["a", "b", "c"]));
  assert.equal(held.of("begin").length, 0);
  held.send({ type: "release" }, { type: "begun" });
  assert.equal(held.of("begin").length, 1);
  held.send({ type: "hold" }, ...["a", "b", "c"].map(held.admitted), { type: "committed" });
  held.send(rosterOf(["a", "b", "c"]));
  assert.equal(held.rounds.phase, undefined);
  assert.equal(held.rounds.held, true);
  assert.equal(held.of("begin").length, 1);

  const drained = begun();
  drained.send(rosterOf(["a", "b", "c"]), { type: "begun" }, { type: "drain" });
  drained.send(...["a", "b", "c"].map(drained.admitted), { type: "committed" });
  assert.equal(drained.rounds.at, "stopped");
  assert.equal(drained.of("close").length, 1);

  const stopped = begun();
  stopped.send(rosterOf(["a", "b", "c"]), { type: "begun" }, { type: "stop", reason: "enough" });
  assert.deepEqual(stopped.of("stopped"), [{ type: "stopped", reason: "enough", failed: false }]);
});
