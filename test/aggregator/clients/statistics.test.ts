import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  mergeStatistics,
  normalisationBy,
  statisticsInWords,
  type ClientStatistics,
} from "../../../aggregator/clients/statistics.js";
import { channelStatistics } from "../../../runtime/data/normalise.js";
import { random } from "../../../runtime/tensors/random.js";

const CHANNELS = 3;

/** The examples of one client, [n, 2, channels], each channel with an offset and a scale of its own. */
function examplesOf(seed: string, count: number): Float32Array {
  const chance = random("statistics", seed);
  const offsets = [1e6, -3, 0.01];
  const scales = [2, 100, 1e-3];
  return Float32Array.from(
    { length: count * 2 * CHANNELS },
    (_, i) => offsets[i % CHANNELS] + scales[i % CHANNELS] * (chance.next() - 0.5),
  );
}

const measured = (inputs: Float32Array): ClientStatistics => {
  const count = inputs.length / 2 / CHANNELS;
  const rows = Uint32Array.from({ length: count }, (_, row) => row);
  return { count, ...channelStatistics({ inputs, shape: [2, CHANNELS] }, rows, 1) };
};

/** The same over all examples at once, by the definition. */
function pooled(parts: readonly Float32Array[]): { mean: number[]; deviation: number[] } {
  const values = Array.from({ length: CHANNELS }, (_, channel) =>
    parts.flatMap((part) => [...part].filter((_, i) => i % CHANNELS === channel)),
  );
  const mean = values.map((all) => all.reduce((a, b) => a + b, 0) / all.length);
  const deviation = values.map((all, channel) =>
    Math.sqrt(all.reduce((sum, x) => sum + (x - mean[channel]) ** 2, 0) / all.length),
  );
  return { mean, deviation };
}

const SIZES = [40, 17, 90, 25, 33, 60];
const parts = SIZES.map((count, i) => examplesOf(`client ${i}`, count));
const answers = new Map(parts.map((part, i) => [`id ${i}`, measured(part)]));

function assertClose(a: readonly number[], b: readonly number[], within = 1e-6): void {
  a.forEach((value, i) => assert.ok(Math.abs(value - b[i]) <= within * Math.abs(b[i]), `${i}`));
}

test("statistics of clients are those of the pooled examples", () => {
  const merged = mergeStatistics(answers, undefined);
  const whole = pooled(parts);
  assert.equal(
    merged.count,
    SIZES.reduce((a, b) => a + b),
  );
  assertClose(merged.mean, whole.mean);
  assertClose(merged.deviation, whole.deviation);
  assert.deepEqual(merged.held, []);
  assert.deepEqual(merged.members, [...answers.keys()]);
});

test("statistics have the same bits in any order of arrival", () => {
  const merged = mergeStatistics(answers, undefined);
  fc.assert(
    fc.property(fc.shuffledSubarray([...answers], { minLength: answers.size }), (entries) => {
      assert.deepEqual(mergeStatistics(new Map(entries), undefined), merged);
    }),
    { numRuns: 20 },
  );
});

test("after a drop-out statistics are those of the examples that are left", () => {
  const left = new Map([...answers].filter(([id]) => id !== "id 2"));
  const merged = mergeStatistics(left, undefined);
  const whole = pooled(parts.filter((_, i) => i !== 2));
  assertClose(merged.mean, whole.mean);
  assertClose(merged.deviation, whole.deviation);
});

test("one client that sends nonsense moves statistics within the stated bound, and is named", () => {
  const number = fc.double({ min: -1e30, max: 1e30, noNaN: true });
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 9 }),
      number,
      number,
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.integer({ min: 0, max: 1000 }),
      (honest, mean, deviation, count, seed) => {
        const chance = random("honest", seed);
        const given = new Map<string, ClientStatistics>(
          Array.from({ length: honest }, (_, i) => [
            `honest ${i}`,
            {
              count: 20 + Math.floor(20 * chance.next()),
              mean: [10 * chance.next()],
              deviation: [1 + chance.next()],
            },
          ]),
        );
        const others = [...given.values()];
        const nonsense = { count, mean: [mean], deviation: [Math.abs(deviation)] };
        const merged = mergeStatistics(new Map([...given, ["liar", nonsense]]), 100);

        // c and s as the document says, computed here by themselves.
        const all = [...others, { ...nonsense, count: Math.min(count, 100) }];
        const n = all.length;
        const c = all.map((one) => one.mean[0]).sort((a, b) => a - b)[(n - 1) >> 1];
        const spreads = all.map((one) => Math.hypot(one.deviation[0], one.mean[0] - c));
        const s = spreads.sort((a, b) => a - b)[n - Math.max(1, Math.floor(n / 4)) - 1];
        const total = all.reduce((sum, one) => sum + one.count, 0);
        const w = all[n - 1].count / total;
        const held = (x: number, least: number, most: number) => Math.max(least, Math.min(most, x));
        const alone = others.map((one) => ({
          count: one.count,
          mean: held(one.mean[0], c - 4 * s, c + 4 * s),
          deviation: held(one.deviation[0], 0, 4 * s),
        }));
        const of = (value: (one: (typeof alone)[number]) => number) =>
          alone.reduce((sum, one) => sum + one.count * value(one), 0) / (total * (1 - w));
        const m = of((one) => one.mean);
        const variance = of((one) => one.deviation ** 2 + (one.mean - m) ** 2);
        const slack = 1e-9 * (1 + Math.abs(m) + s * s);
        assert.ok(Math.abs(merged.mean[0] - m) <= 8 * w * s + slack);
        const moved = merged.deviation[0] ** 2;
        assert.ok(moved >= (1 - w) * variance - slack);
        assert.ok(moved <= variance + 80 * w * s * s + slack);
        const far = Math.abs(mean - c) > 4 * s || Math.abs(deviation) > 4 * s;
        assert.equal(
          merged.held.some(({ client }) => client === "liar"),
          far,
        );
      },
    ),
  );
});

test("a client counts with no more examples than the cap of a round's samples", () => {
  const one = { mean: [0], deviation: [1] };
  const given = new Map([
    ["a", { ...one, count: 10 }],
    ["b", { ...one, count: 10 }],
    ["c", { ...one, count: 1_000_000 }],
  ]);
  assert.equal(mergeStatistics(given, undefined).count, 10 + 10 + 40);
  assert.equal(mergeStatistics(given, 25).count, 10 + 10 + 25);
});

test("of fewer than three clients nothing is bounded, which is said", () => {
  const given = new Map([
    ["a", { count: 20, mean: [0], deviation: [1] }],
    ["b", { count: 20, mean: [1000], deviation: [1] }],
  ]);
  const merged = { ...mergeStatistics(given, undefined), scale: 1 };
  assert.deepEqual(merged.mean, [500]);
  assert.deepEqual(merged.held, []);
  assert.match(statisticsInWords(merged)[1], /fewer than 3 clients/);
});

test("inputs that never change are not scaled; they and those far off are named", () => {
  const record = {
    count: 100,
    scale: 1,
    mean: [5, 0, 1_013_250, 3],
    deviation: [4e-6, 0, 12, 2],
    members: ["a", "b", "c"],
    held: [{ client: "0123456789", channels: [3] }],
  };
  assert.deepEqual(normalisationBy(record), {
    scale: 1,
    mean: record.mean,
    deviation: [1, 1, 12, 2],
  });
  assert.deepEqual(statisticsInWords(record, ["idle", "dead", "pressure", "load\u202e"]), [
    "Inputs are normalised by statistics of 100 examples of 3 clients.",
    "Statistics of client 01234567 are far from the others' and were held to a bound: column load\ufffd.",
    "Inputs that never change cannot be scaled: column idle, column dead.",
    "Inputs whose mean is far above their deviation keep few digits in float32: column pressure.",
  ]);
});
