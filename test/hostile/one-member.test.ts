import assert from "node:assert/strict";
import { test } from "node:test";
import type { RoundLine } from "../../aggregator/run/aggregator.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { readTrainSettings } from "../../runtime/protocol/settings.js";
import { federation, type Federation } from "../aggregator/run/federation.js";
import {
  readBlob,
  updateFor,
  type Message,
  type RawClient,
  type RawOptions,
} from "../aggregator/run/raw-client.js";

// How far one member of four can move what is made of the words of all. The bounds are those that
// docs/threat-model.md states.

const SAMPLES = 100;
const BEYOND = Number.MAX_SAFE_INTEGER;

/** A run with three honest clients of 100 samples, and a liar. */
async function withLiar(
  settings: GivenSettings,
  hello: Partial<RawOptions>,
  lie: (f: Federation, honest: readonly RawClient[], liar: RawClient) => Promise<void>,
): Promise<void> {
  const f = await federation({ gather: 4, rounds: 1, ...settings });
  try {
    const liar = await f.client("liar", hello);
    const honest = await Promise.all(
      ["a", "b", "c"].map((seed) => f.client(seed, { samples: SAMPLES, ...algorithmOf(hello) })),
    );
    await lie(f, honest, liar);
  } finally {
    await f.end();
  }
}

const algorithmOf = ({ algorithms }: Partial<RawOptions>) => ({ algorithms });
const sending = (value: number) => (_: Message, model: Uint8Array) => updateFor(model, () => value);

/** Takes part in one round, with an offer that says something else. */
async function offering(client: RawClient, value: number, change: object): Promise<Message> {
  client.send({ type: "ready" });
  const { assignment, model } = await client.next("assign");
  return client.deliver(
    assignment,
    updateFor(await client.fetch(model), () => value),
    change,
  );
}

for (const [what, samples, most] of [
  ["as many samples as a number can say", BEYOND, 1.75],
  ["none", 0, 1],
  ["one", 1, 1],
] as const)
  test(`a liar that claims ${what} moves the mean by its bound at most, and leaves nothing behind`, () =>
    withLiar(
      { algorithm: "feddyn", rounds: 2, absence: 100 },
      { samples, algorithms: ["feddyn"] },
      async (f, honest, liar) => {
        const ends = honest.map((client) => client.work(sending(0)));
        liar.send({ type: "ready" });
        const first = await liar.next("assign");
        // What a client of ours would not take, it would decline.
        const { meanSamples } = readTrainSettings(first["settings"]);
        assert.ok(meanSamples <= most * SAMPLES, `${meanSamples}`);
        assert.ok(meanSamples >= 0.75 * SAMPLES, `${meanSamples}`);
        liar.send({ type: "decline", assignment: first["assignment"], code: "busy" });
        liar.send({ type: "bye" });
        await Promise.all(ends);
        await f.aggregator.done;
        const assigned = honest[0].messages.filter(({ type }) => type === "assign");
        assert.equal(assigned.at(-1)!["settings"].meanSamples, SAMPLES);
      },
    ));

for (const [what, hello] of [
  ["nothing", undefined],
  ["as much as a number can say", BEYOND],
  ["what the others say", SAMPLES],
] as const)
  test(`a liar whose hello says ${what} has no more weight than its bound`, () =>
    withLiar({}, { samples: hello ?? null }, async (f, honest, liar) => {
      const ends = honest.map((client) => client.work(sending(0)));
      assert.equal((await offering(liar, 1, { samples: BEYOND })).type, "received");
      await Promise.all(ends);
      const [kernel] = readBlob((await f.aggregator.done).model);
      const share = kernel.data[0];
      // Four times the median against three honest clients: 4 / (4 + 3).
      assert.ok(share <= Math.fround(4 / 7), `${share}`);
      assert.ok(share >= 0.25);
    }));

test("--max-samples takes the place of the clients' median", () =>
  withLiar({ maxSamples: 100 }, { samples: BEYOND }, async (f, honest, liar) => {
    const ends = honest.map((client) => client.work(sending(0)));
    await offering(liar, 1, { samples: BEYOND });
    await Promise.all(ends);
    const [kernel] = readBlob((await f.aggregator.done).model);
    assert.equal(kernel.data[0], 0.25);
  }));

test("data that grew count up to the cap at once, and wholly from the next round on", () =>
  withLiar({ rounds: 2 }, { samples: SAMPLES }, async (f, honest, grown) => {
    const lines: RoundLine[] = [];
    f.aggregator.on("round", (line) => lines.push(line));
    const ends = honest.map((client) => client.work(sending(0)));
    for (let round = 1; round <= 2; round++)
      assert.equal((await offering(grown, 1, { samples: 300 })).type, "received");
    await Promise.all(ends);
    // Room for twice as many as were known, up to the next power of two.
    assert.deepEqual(
      lines.map(({ samples }) => samples - 3 * SAMPLES),
      [256, 300],
    );
    const [second] = honest[0].messages.filter(({ type }) => type === "assign").slice(1);
    assert.equal(second["settings"].meanSamples, 150);
  }));
