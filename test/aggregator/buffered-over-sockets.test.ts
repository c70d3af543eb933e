import assert from "node:assert/strict";
import { test } from "node:test";
import type { RoundLine } from "../../aggregator/round-line.js";
import { federation, type Federation } from "./federation.js";
import {
  readBlob,
  updateFor,
  type Message,
  type RawClient,
} from "./raw-client.js";

const BUFFERED = {
  mode: "buffered",
  rounds: 2,
  buffer: 2,
  concurrency: 3,
  gather: 3,
  learningRateDecay: 0.5,
} as const;

/** The first weight of a model. */
const first = (model: Uint8Array) => readBlob(model)[0].data[0];

/** Takes the next assignment, and gives it with an update whose every number is `value`. */
async function taken(client: RawClient, value: number) {
  const assign = await client.next("assign");
  client.send({ type: "accept", assignment: assign["assignment"] });
  const model = await client.fetch(assign["model"]);
  return { assign, update: updateFor(model, () => value) };
}

async function work(client: RawClient, value: number): Promise<Message> {
  const { assign, update } = await taken(client, value);
  assert.equal(
    (await client.deliver(assign["assignment"], update)).type,
    "received",
  );
  return assign;
}

const lines = (f: Federation): RoundLine[] => {
  const all: RoundLine[] = [];
  f.aggregator.on("round", (line) => all.push(line));
  return all;
};

test("two fast clients and a slow one: its update comes a round late, and counts with 1/sqrt(2) of its weight", async () => {
  const f = await federation({ ...BUFFERED, rounds: 2 });
  try {
    const rounds = lines(f);
    const [a, b, slow] = [
      await f.client("a", { samples: 10 }),
      await f.client("b", { samples: 30 }),
      await f.client("slow", { samples: 20 }),
    ];
    for (const client of [a, b, slow]) client.send({ type: "ready" });
    const before = first(f.aggregator.model.bytes);
    const late = await taken(slow, 1);
    await work(a, 0.5);
    await work(b, -0.25);
    await a.next("committed");
    await b.next("committed");
    // The slow one is not called off, and the fast ones are at work on the new model.
    const next = await taken(a, 1);
    assert.deepEqual(
      [next.assign["round"], next.assign["settings"].learningRate],
      [2, 0.05],
    );
    assert.notEqual(next.assign["model"].sha256, late.assign["model"].sha256);
    assert.equal(
      (await slow.deliver(late.assign["assignment"], late.update)).type,
      "received",
    );
    await a.deliver(next.assign["assignment"], next.update);
    assert.equal((await slow.next("committed"))["round"], 2);
    const ending = await f.aggregator.done;
    assert.deepEqual([ending.reason, ending.rounds], ["finished", 2]);
    // (10 * 0.5 - 30 * 0.25) / 40, then (20 * s + 10) / 30 where s is 1/sqrt(2) in steps of 2^-16.
    const s = 46341 / 65536;
    const one = Math.fround(before + (10 * 0.5 - 30 * 0.25) / 40);
    assert.equal(first(ending.model), Math.fround(one + (20 * s + 10) / 30));
    assert.deepEqual(
      rounds.map(({ staleness }) => staleness),
      [0, 0.5],
    );
    // Whoever is at work when the last round is committed is told.
    assert.equal((await b.next("refused"))["code"], "late");
  } finally {
    await f.end();
  }
});
