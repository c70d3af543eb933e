import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { test } from "node:test";
import { driveRounds, type Asked } from "../../../aggregator/run/driver.js";
import type { RoundEffect, RoundEvent, Rounds } from "../../../aggregator/rounds/engine.js";

/** Rounds that only say what they were told: each event asks for what the test says. */
function fake(asks: (event: RoundEvent) => readonly RoundEffect[]) {
  const told: RoundEvent[] = [];
  let at: string | undefined;
  const rounds: Rounds = {
    maxStaleness: 0,
    get at() {
      return at;
    },
    phase: undefined,
    draining: false,
    held: false,
    progress: () => ({ round: 1, attempt: 1, counted: 0, goal: 0 }),
    start() {
      at = "gathering";
      return [{ type: "deadline", number: 1, after: 60_000 }];
    },
    step(event) {
      told.push(event);
      return asks(event);
    },
    waitsFor: () => `Told ${told.length}.`,
    retryAfter: () => 1,
    outstanding: () => [],
  };
  return { rounds, told };
}

const work = { round: 1, attempt: 1 };
const assign = (client: string): Asked => ({ type: "assign", client, work });

test("all that an event asks for is carried out before the next event, also of one that comes meanwhile", async () => {
  const order: string[] = [];
  const { rounds } = fake((event) => {
    order.push(event.type);
    return event.type === "hold" ? [assign("a"), assign("b")] : [];
  });
  const driver = driveRounds({
    rounds,
    carryOut(effect) {
      if (effect.type !== "assign") return;
      order.push(effect.client);
      driver.send({ type: "release" });
    },
    waiting() {},
  });
  driver.send({ type: "hold" });
  assert.deepEqual(order, [], "nothing is taken before the start");
  driver.start(0);
  // On a busy machine it may take turns.
  while (order.length < 5) await setImmediate();
  assert.deepEqual(order, ["hold", "a", "b", "release", "release"]);
  driver.close();
});

test("a deadline takes the place of the one before, and is told with its number", async () => {
  const { rounds, told } = fake((event) =>
    event.type === "drain"
      ? [{ type: "deadline", number: 2, after: 1 }]
      : [{ type: "finished", round: 1 }],
  );
  const ended = new Promise<void>((resolve) => {
    const driver = driveRounds({
      rounds,
      carryOut: ({ type }) => {
        assert.equal(type, "finished");
        resolve();
      },
      waiting() {},
    });
    driver.start(0);
    const before = driver.due;
    driver.send({ type: "drain" });
    assert.ok(driver.due < before);
  });
  await ended;
  assert.deepEqual(told, [{ type: "drain" }, { type: "deadline", number: 2 }]);
});

test("what the run waits for is said once for all that happens at a turn, and not again where it is the same", async () => {
  const { rounds } = fake(() => []);
  const said: string[] = [];
  const driver = driveRounds({
    rounds,
    carryOut() {},
    waiting: (sentence) => said.push(sentence),
  });
  driver.start(0);
  for (let i = 0; i < 3; i++) driver.send({ type: "begun" });
  await setImmediate();
  assert.deepEqual(said, ["Told 3."]);
  driver.start(0);
  await setImmediate();
  assert.deepEqual(said, ["Told 3."]);
  driver.close();
});
