import assert from "node:assert/strict";
import { test } from "node:test";
import type { EvaluationRecord, RoundRecord } from "../../aggregator/run/aggregator.js";
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
    const lines: RoundRecord[] = [];
    f.aggregator.on("round", (line) => lines.push(line));
    const ends = honest.map((client) => client.work(sending(0)));
    for (let round = 1; round <= 2; round++)
      assert.equal((await offering(grown, 1, { samples: 300 })).type, "received");
    await Promise.all(ends);
    // Room for twice as many as were known, up to the next power of two.
    assert.deepEqual(
      lines.map(({ samples }) => samples! - 3 * SAMPLES),
      [256, 300],
    );
    const [second] = honest[0].messages.filter(({ type }) => type === "assign").slice(1);
    assert.equal(second["settings"].meanSamples, 150);
  }));

const HONEST = { count: 10, correct: 5, loss: 10 };

for (const [what, report] of [
  ["more examples than a number can say, all right", { count: BEYOND, correct: BEYOND, loss: 0 }],
  ["more examples than a number can say, all wrong", { count: BEYOND, correct: 0, loss: 0 }],
  ["a loss as large as can be sent", { count: 10, correct: 5, loss: 1e30 }],
  ["a loss below 0", { count: 10, correct: 5, loss: -5 }],
  ["more right ones than examples", { count: 10, correct: 11, loss: 10 }],
] as const)
  test(`a liar that reports ${what} moves the clients' evaluation by its bound at most`, () =>
    withLiar({ evaluateFraction: 1 }, { samples: SAMPLES }, async (f, honest, liar) => {
      const told: string[] = [];
      f.aggregator.on("doubted", ({ client }) => told.push(client));
      f.aggregator.on("refused", ({ client }) => told.push(client));
      const ended = new Promise<EvaluationRecord>((resolve) =>
        f.aggregator.on("evaluation", resolve),
      );
      for (const client of [...honest, liar]) client.send({ type: "ready" });
      for (const client of [...honest, liar]) {
        const { assignment, model } = await client.next("assign");
        await client.deliver(
          assignment,
          updateFor(await client.fetch(model), () => 0),
        );
      }
      for (const client of [...honest, liar]) {
        const { assignment, task } = await client.next("assign");
        assert.equal(task, "evaluate");
        const evaluation = client === liar ? report : HONEST;
        client.send({ type: "report", assignment, evaluation });
      }
      const { accuracy = NaN, loss, count } = (await ended).federated!;
      // At most 4 / 7 of the examples are the liar's, and its loss is 20 an example at most.
      assert.ok(Math.abs(accuracy - 0.5) <= (4 / 7) * 0.5 + 1e-12, `${accuracy}`);
      assert.ok(loss >= (3 / 7) * 1 && loss <= 0.75 * 1 + 0.25 * 20, `${loss}`);
      assert.ok(count <= 70, `${count}`);
      const isOdd = report.loss < 0 || report.loss > 1e6 || report.correct > report.count;
      assert.deepEqual(told, isOdd ? [liar.id] : []);
    }));

test("a liar whose losses and norms cannot be right is left out of a round's figures, and named", () =>
  withLiar({}, { samples: SAMPLES }, async (f, honest, liar) => {
    const told: string[] = [];
    f.aggregator.on("doubted", ({ client }) => told.push(client));
    const line = new Promise<RoundRecord>((resolve) => f.aggregator.on("round", resolve));
    const ends = honest.map((client) => client.work(sending(0)));
    const metrics = { lossBefore: 1e30, lossAfter: -1e30, activationNorms: [1, 2], seconds: 1e9 };
    await offering(liar, 0, { samples: SAMPLES, metrics });
    await Promise.all(ends);
    const { lossBefore, lossAfter, activationNorms } = await line;
    assert.deepEqual([lossBefore, lossAfter, activationNorms], [2, 1, []]);
    assert.deepEqual(told, [liar.id]);
  }));

test("a liar cannot have trained for longer than its round allows", () =>
  withLiar({ deadline: 20_000 }, { samples: SAMPLES }, async (f, honest, liar) => {
    const seconds = new Promise<number>((resolve) =>
      f.aggregator.on("round", (_, { trainSeconds }) => resolve(trainSeconds!)),
    );
    const ends = honest.map((client) => client.work(sending(0)));
    const metrics = { lossBefore: 1, lossAfter: 1, activationNorms: [], seconds: 1e9 };
    await offering(liar, 0, { samples: SAMPLES, metrics });
    await Promise.all(ends);
    assert.equal(await seconds, 20);
  }));
