import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import {
  knownRuns,
  openRecords,
  rememberRun,
  removeOrphans,
  type Records,
} from "../../runtime/client/records.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import type { StateStore } from "../../runtime/platform/platform.js";
import { cutAt } from "./power-cut.js";

const run = "ab".repeat(16);
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (bytes?: Uint8Array) => bytes && new TextDecoder().decode(bytes);
const idOf = (n: number) => n.toString(16).padStart(32, "0");

const keep = (records: Records, n: number) => {
  const update = bytes(`update ${n}`);
  return records.keep(
    {
      round: n,
      offer: {
        type: "offer",
        assignment: idOf(n),
        sha256: createHash("sha256").update(update).digest("hex"),
        bytes: update.length,
        samples: 10,
        metrics: {
          lossBefore: 2,
          lossAfter: 1,
          activationNorms: [],
          seconds: 1,
        },
      },
    },
    update,
    bytes(`state ${n}`),
  );
};

/** A life of a client; `done` names each step whose promise has resolved. */
async function live(store: StateStore, done: string[]): Promise<void> {
  const step = async (name: string, work: Promise<unknown>) => {
    await work;
    done.push(name);
  };
  await rememberRun(store, run);
  const records = await openRecords(store, run);
  await step("kept 1", keep(records, 1));
  await step("committed 1", records.commit(idOf(1), 1));
  await step("kept 2", keep(records, 2));
  await step("dropped 2", records.drop(idOf(2)));
  await step("kept 3", keep(records, 3));
  await step("kept 4", keep(records, 4));
  await step("committed 3", records.commit(idOf(3), 3));
}

test("a power cut at any write leaves one consistent state, and keeps all that was promised", async () => {
  for (let at = 0; ; at++) {
    const store = memoryStore();
    const done: string[] = [];
    const whole = await live(cutAt(store, at), done).then(
      () => true,
      () => false,
    );
    const did = (step: string) => done.includes(step);

    await removeOrphans(store);
    const records = await openRecords(store, run);
    const { counted, pending, state } = records.record;
    const where = `cut at ${at}, after ${done.join(", ")}`;
    const numbers = pending.map(({ round }) => round);

    // The state is that of the update counted last, whole.
    assert.equal(
      text(await records.state()),
      counted ? `state ${counted.round}` : undefined,
      where,
    );
    if (did("committed 1")) assert.ok(counted, where);
    if (did("committed 3")) assert.equal(counted?.round, 3, where);
    for (const { round, offer } of pending)
      assert.equal(text(await records.update(offer.assignment)), `update ${round}`, where);
    if (did("kept 1")) assert.ok(counted?.round !== undefined || numbers.includes(1), where);
    if (did("dropped 2")) assert.ok(!numbers.includes(2), where);
    if (did("kept 3")) assert.ok(counted?.round === 3 || numbers.includes(3), where);
    if (did("kept 4")) assert.ok(numbers.includes(4), where);

    // And nothing else lies about.
    const named = new Set([
      "runs",
      `run.${run}`,
      state?.name,
      ...pending.flatMap(({ offer, state }) => [`update.${offer.assignment}`, state?.name]),
    ]);
    for (const name of await store.list()) assert.ok(named.has(name), `${name}, ${where}`);
    if (whole) {
      assert.ok(at > 15, `${at} operations`);
      return;
    }
  }
});

test("damaged records, updates and states count as lost, not as an error", async () => {
  for (const damaged of [
    "runs",
    `run.${run}`,
    `update.${idOf(4)}`,
    `state.${idOf(4)}`,
    `state.${idOf(3)}`,
  ])
    for (const damage of ["", "{}", "null", "[1,2]"]) {
      const store = memoryStore();
      await live(store, []);
      assert.ok((await store.list()).includes(damaged));
      await store.put(damaged, bytes(damage));
      assert.ok(Array.isArray(await knownRuns(store)));
      const records = await openRecords(store, run);
      const { counted, pending } = records.record;
      const is = (name: string) => damaged.startsWith(name);
      assert.equal(counted?.round, is("run.") || damaged === `state.${idOf(3)}` ? undefined : 3);
      assert.equal(
        pending.length,
        is("run.") || is("update.") || damaged === `state.${idOf(4)}` ? 0 : 1,
      );
    }
});

test("only the newest runs are remembered", async () => {
  const store = memoryStore();
  const runs = [1, 2, 3, 4, 5, 6].map(idOf);
  for (const run of runs) {
    await rememberRun(store, run);
    await keep(await openRecords(store, run), 1);
  }
  await rememberRun(store, runs[3]);
  assert.deepEqual(await knownRuns(store), [runs[3], runs[5], runs[4], runs[2]]);
  await removeOrphans(store);
  const kept = (await store.list()).filter((name) => name.startsWith("run."));
  assert.deepEqual(
    kept.sort(),
    [2, 3, 4, 5].map((i) => `run.${runs[i]}`),
  );
});
