import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { roundsOf, type RoundEffect, type RoundEvent } from "../../../aggregator/rounds/engine.js";
import type { SecurePhase } from "../../../aggregator/rounds/participants.js";
import { secure } from "../../../aggregator/rounds/secure.js";
import { thresholdOf } from "../../../runtime/secure/graph.js";

const RULES = {
  seed: "1",
  rounds: 2,
  quorum: 0.6,
  least: 4,
  deadline: 1000,
  phaseDeadline: 300,
  gather: 4,
  gatherDeadline: 100,
  pause: 50,
  storageDeadline: 200,
  selection: { fraction: 1, minimum: 4, overSelection: 1, bernoulli: false, most: 1000 },
  ring: { quorum: 0.8, secureCorrupt: 0.05, secureDropout: 0.1 },
};
const ids = (n: number) => Array.from({ length: n }, (_, i) => `client-${i}`);
const rosterOf = (n: number): RoundEvent => ({
  type: "roster",
  roster: { ids: ids(n), connected: ids(n), population: n, meanSamples: 10 },
});

/** Carries effects out, and looks that they make sense. */
function driven(rules: Partial<Parameters<typeof secure>[0]> = {}) {
  const rounds = roundsOf(secure({ ...RULES, ...rules }));
  const log: RoundEffect[] = [];
  let deadline = 0;
  let work = { round: 0, attempt: 0 };
  let phase: SecurePhase | "train" | "sealing" | undefined;
  let asked: readonly string[] = [];
  let folded = new Set<string>();
  let n = 0;
  const send = (event: RoundEvent): void => take(rounds.step(event));
  function take(effects: readonly RoundEffect[]): void {
    for (const effect of effects) {
      log.push(effect);
      switch (effect.type) {
        case "deadline":
          assert.ok(effect.number > deadline);
          deadline = effect.number;
          break;
        case "begin":
          work = { round: effect.open.round, attempt: effect.open.attempt };
          [phase, asked, folded] = ["train", effect.open.selected, new Set()];
          break;
        case "enter":
          if (effect.phase === "shares") n = effect.clients.length;
          assert.notEqual(phase, "masked", "what is in the sum stands before it is verified");
          if (phase !== "train")
            assert.ok(
              effect.clients.every((client) => asked.includes(client)),
              effect.phase,
            );
          if (!["keys", "shares"].includes(effect.phase))
            assert.ok(effect.clients.length >= thresholdOf(n));
          ({ phase, clients: asked } = effect);
          break;
        case "seal":
          assert.equal(phase, "masked");
          phase = "sealing";
          break;
        case "close": {
          const counted = [...effect.members].filter(([, { status }]) => status === "counted");
          assert.deepEqual(counted.map(([id]) => id).sort(), [...folded].sort());
          assert.ok(folded.size >= thresholdOf(n) && thresholdOf(n) >= 3);
          phase = undefined;
          break;
        }
        case "abandon":
          phase = undefined;
      }
    }
    assert.match(rounds.waitsFor(), /^[A-Z].*\.$/);
    assert.ok(rounds.retryAfter("x") >= 0);
    if (phase === "sealing") send({ type: "gathered" });
  }
  take(rounds.start(0));
  return {
    rounds,
    log,
    send,
    expire: () => send({ type: "deadline", number: deadline }),
    /** The answer of a client to what it is asked now. */
    answer(client: string) {
      if (phase === "masked") {
        folded.add(client);
        send({ type: "admitted", client, work });
      } else if (phase !== undefined && phase !== "sealing")
        send({ type: "answered", client, work, phase });
    },
    of: <T extends RoundEffect["type"]>(type: T) =>
      log.filter((e): e is Extract<RoundEffect, { type: T }> => e.type === type),
    get phase() {
      return phase;
    },
    get asked() {
      return asked;
    },
    get work() {
      return work;
    },
  };
}

/** All who are asked answer, until this phase is there. */
function upTo(run: ReturnType<typeof driven>, phase: SecurePhase): void {
  while (run.phase !== phase) for (const client of run.asked) run.answer(client);
}

function opened(n = 7, rules: Parameters<typeof driven>[0] = {}) {
  const run = driven(rules);
  run.send(rosterOf(n));
  run.send({ type: "begun" });
  return run;
}

test("a round goes through its phases, and is closed once the masks are off", () => {
  const run = opened();
  upTo(run, "unmask");
  assert.deepEqual(
    run.of("enter").map(({ phase }) => phase),
    ["keys", "shares", "masked", "verify", "unmask"],
  );
  for (const client of run.asked) run.answer(client);
  assert.equal(run.of("close").length, 0);
  run.send({ type: "unmasked", work: run.work });
  assert.equal(run.of("close").length, 1);
  run.send({ type: "committed" });
  assert.equal(run.rounds.progress().round, 2);
});

test("who is late for a phase is out of the round before its update is in, and in it after", () => {
  const run = opened(9);
  upTo(run, "keys");
  for (const phase of ["keys", "shares", "masked", "verify"]) {
    assert.equal(run.phase, phase);
    for (const client of run.asked.slice(1)) run.answer(client);
    if (phase !== "verify") assert.equal(run.phase, phase);
    run.expire();
  }
  assert.equal(run.phase, undefined);
  assert.match(
    run.of("abandon")[0].reason,
    /^5 of 6 answers needed for the phase verify were there at the deadline/,
  );
  assert.deepEqual(
    run.of("late").map(({ client }) => client),
    ["client-0", "client-1", "client-2"],
  );
});

test("a client that is back is asked again, if its answer is missing", () => {
  const run = opened();
  upTo(run, "shares");
  run.answer("client-1");
  run.send({ type: "gone", client: "client-2", work: run.work, code: "left" });
  run.send({ type: "back", client: "client-1" });
  assert.deepEqual(run.of("ask"), []);
  run.send({ type: "back", client: "client-2" });
  assert.deepEqual(
    run.of("ask").map(({ client }) => client),
    ["client-2"],
  );
});

test("a masked update that was lost with its leaf is waited for again before the sum is verified", () => {
  const run = opened();
  upTo(run, "masked");
  const [lost, ...others] = run.asked;
  run.answer(lost);
  run.send({ type: "returned", client: lost, work: run.work });
  for (const client of others) run.answer(client);
  assert.deepEqual([run.phase, run.of("seal").length], ["masked", 0]);
  run.answer(lost);
  assert.deepEqual([run.phase, run.of("seal").length], ["verify", 1]);
});

test("shares that do not open the sum are waited for, until nobody is left", () => {
  const run = opened();
  upTo(run, "unmask");
  const sealed = { type: "sealed", work: run.work, reason: "they do not open it" } as const;
  for (const client of run.asked.slice(1)) run.answer(client);
  run.send(sealed);
  assert.equal(run.of("abandon").length, 0);
  run.answer(run.asked[0]);
  run.send(sealed);
  assert.equal(run.of("abandon")[0].reason, "they do not open it");
});

test("what was opened after the attempt was called off is no round", () => {
  const run = opened();
  upTo(run, "unmask");
  const { work } = run;
  run.expire();
  assert.equal(run.of("abandon").length, 1);
  run.send({ type: "unmasked", work });
  assert.equal(run.of("close").length, 0);
});

test("a restart abandons the attempt that it finds open, and counts on", () => {
  const latest = {
    ...{ round: 1, attempt: 3, selected: ids(5), goal: 5 },
    ...{ population: 5, meanSamples: 10 },
  };
  const rounds = roundsOf(secure({ ...RULES, latest }));
  const [abandoned] = rounds.start(0, latest);
  assert.equal(abandoned.type, "abandon");
  assert.equal(rounds.progress().round, 1);
  const begin = rounds.step(rosterOf(5)).find(({ type }) => type === "begin");
  assert.ok(begin?.type === "begin");
  assert.deepEqual([begin.open.round, begin.open.attempt], [1, 4]);
});

test("whatever happens, a deadline is armed or the run is over, and no round is too small", () => {
  const act = fc.oneof(
    { weight: 30, arbitrary: fc.record({ do: fc.constant("answer" as const), who: fc.nat(11) }) },
    fc.record({ do: fc.constantFrom("gone" as const, "refused" as const), who: fc.nat(11) }),
    fc.record({ do: fc.constant("back" as const), who: fc.nat(11) }),
    fc.record({
      do: fc.constantFrom(
        "expire",
        "unmasked",
        "sealed",
        "storage",
        "hold",
        "release",
      ) as fc.Arbitrary<"expire" | "unmasked" | "sealed" | "storage" | "hold" | "release">,
      who: fc.constant(0),
    }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 4, max: 12 }), fc.array(act, { maxLength: 150 }), (n, acts) => {
      const run = driven();
      run.send(rosterOf(n));
      const over = () => ["finished", "stopped"].includes(run.rounds.at ?? "");
      for (const { do: what, who } of acts) {
        const client = `client-${who}`;
        const { work } = run;
        if (what === "answer") run.answer(run.asked[who % Math.max(1, run.asked.length)] ?? client);
        else if (what === "expire") run.expire();
        else if (what === "storage") {
          run.send({ type: "begun" });
          run.send({ type: "committed" });
        } else if (what === "unmasked") run.send({ type: what, work });
        else if (what === "sealed") run.send({ type: what, work, reason: "no" });
        else if (what === "back") run.send({ type: what, client });
        else if (what === "gone" || what === "refused")
          run.send({ type: what, client, work, code: "left" });
        else run.send({ type: what });
      }
      run.send({ type: "drain" });
      for (let i = 0; i < 12 && !over(); i++) {
        const before = run.log.length;
        run.expire();
        assert.ok(over() || run.log.length > before, "no deadline is armed");
      }
      assert.ok(over(), run.rounds.waitsFor());
    }),
    { numRuns: 300 },
  );
});
