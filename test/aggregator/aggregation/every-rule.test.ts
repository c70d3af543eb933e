import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { plain, wasmArithmetic } from "../../../aggregator/aggregation/arithmetic.js";
import {
  leastUpdates,
  openGathering,
  type RuleSettings,
} from "../../../aggregator/aggregation/gathering.js";
import { distancesIn, krumScores } from "../../../aggregator/aggregation/krum-scores.js";
import { RULES, ruleNamed } from "../../../aggregator/aggregation/rules/built-in.js";
import type { Rule } from "../../../aggregator/aggregation/rules/rule.js";
import { fedavg } from "../../../runtime/algorithms/fedavg.js";
import { random } from "../../../runtime/tensors/random.js";
import { reference, updatesOf, vector } from "./robust-vectors.js";

const wasm = await wasmArithmetic();
const { f, tau, normFactor, multiKrumKeeps } = reference;

// Beside the table there are the interface and a file of each rule's own name.
const files = readdirSync(new URL("../../../aggregator/aggregation/rules/", import.meta.url))
  .filter((file) => file.endsWith(".js"))
  .map((file) => file.slice(0, -3))
  .filter((name) => name !== "rule" && name !== "built-in");

test("each rule's file has its row in the table, under its name", () => {
  assert.ok(files.length > 0);
  assert.deepEqual(RULES.map(({ name }) => name).sort(), files.sort());
  for (const name of ["other", "constructor", "__proto__"])
    assert.throws(() => ruleNamed(name), { name: "ConfigError", code: "settings" });
});

/** What the reference program calls a rule with these numbers, and how near it has to be. */
const REFERENCE: Readonly<
  Record<string, readonly (readonly [name: string, numbers: object, tolerance: number])[]>
> = {
  mean: [["weightedMean", {}, 1e-9]],
  median: [
    ["median", {}, 1e-12],
    ["weightedMedian", { weighted: 1 }, 1e-12],
  ],
  "trimmed-mean": [["trimmedMean", {}, 1e-12]],
  krum: [["krum", {}, 1e-9]],
  "multi-krum": [
    ["multiKrum", {}, 1e-9],
    ["multiKrum", { keep: multiKrumKeeps }, 1e-9],
  ],
  bulyan: [["bulyan", {}, 1e-9]],
  rfa: [["rfa4FromMedian", { weighted: 1 }, 1e-12]],
  "centred-clipping": [["centredClipping1", { radius: tau }, 1e-12]],
  "norm-clip": [["normClip1", {}, 1e-12]],
  "norm-filter": [["normFilter3", { factor: normFactor }, 1e-12]],
};

const idOf = (place: number) => `client-${String(place).padStart(4, "0")}`;

interface Given {
  readonly rows: readonly Float32Array[];
  readonly weights?: ArrayLike<number>;
  readonly hostile?: number;
  readonly numbers?: object;
  readonly centre?: Float64Array;
  readonly bucket?: number;
  /** In which the rows arrive. */
  readonly order?: readonly number[];
}

const settingsOf = (rule: Rule, { hostile, numbers, bucket = 1 }: Given): RuleSettings => ({
  rule: rule.name,
  // A rule that bears none is not told of any.
  hostile: rule.least(1, rule.defaults) === Infinity ? 0 : (hostile ?? 0),
  numbers: { ...rule.defaults, ...numbers },
  bucket,
  seed: "1",
});

/** The outcome of a round as the reducer has it. */
function outcomeOf(rule: Rule, given: Given, arithmetic = wasm): Float64Array {
  const { rows, weights } = given;
  const size = rows[0].length;
  const samples = Math.max(1, ...Array.from(weights ?? []));
  const gathering = openGathering(
    settingsOf(rule, given),
    fedavg.server,
    { size, maxAbs: 1024, clipUpdateNorm: Infinity },
    { round: 3, attempt: 1, updates: rows.length, samples, staleness: 0 },
    given.centre ?? new Float64Array(size),
    arithmetic,
  );
  for (const place of given.order ?? rows.keys())
    gathering.add({
      client: idOf(place),
      sha256: "",
      vectors: { delta: rows[place] },
      samples: weights?.[place] ?? 1,
      staleness: 0,
    });
  const { fold } = gathering.result();
  return fold.sums["delta"].map((sum) => sum / fold.weights["delta"]);
}

function assertNear(got: Float64Array, expected: Float64Array, tolerance: number, what: string) {
  const off = Math.hypot(...got.map((x, i) => x - expected[i]));
  const ratio = off / Math.hypot(...expected);
  assert.ok(ratio <= tolerance, `${what}: off by ${ratio} of its norm`);
}

const chance = random("every-rule");
const normals = (count: number, size: number): Float32Array[] =>
  Array.from({ length: count }, () => Float32Array.from({ length: size }, () => chance.normal()));

for (const rule of RULES) {
  const { name } = rule;
  const picksOf = (rows: readonly Float32Array[]) =>
    rule.combine({
      rows,
      weights: [...vector("weights")],
      hostile: f,
      settings: { ...rule.defaults },
      centre: vector("previous"),
      arithmetic: wasm,
    }).picks;

  test(`${name}: outcome and picks are those of the reference program, under every attack`, () => {
    assert.ok(REFERENCE[name]?.length > 0, "the reference has a row for each rule");
    for (const [kind, expected] of Object.entries(reference.cases)) {
      const rows = updatesOf(kind);
      for (const [column, numbers, tolerance] of REFERENCE[name]) {
        const weights = vector("weights");
        const centre = vector("previous");
        // The heaviest three hold less than half in the reference's weights.
        const given = { rows, weights, hostile: f, numbers, centre };
        for (const arithmetic of [plain, wasm])
          assertNear(
            outcomeOf(rule, given, arithmetic),
            vector(`${kind}/${column}`),
            tolerance,
            `${kind}/${column}`,
          );
      }
      const picks = picksOf(rows);
      const { krumPick, multiKrumPicks, bulyanPicks, normFilterKept } = expected;
      const sorted = picks && [...picks].sort((a, b) => a - b);
      if (name === "krum") assert.deepEqual(picks, [krumPick]);
      if (name === "multi-krum") assert.deepEqual(sorted, multiKrumPicks);
      if (name === "bulyan") assert.deepEqual(picks, bulyanPicks);
      if (name === "norm-filter") assert.deepEqual(picks, normFilterKept);
    }
  });

  test(`${name}: the same bits for any order of arrival and any kernels, alone and in buckets`, () => {
    for (const kind of ["none", "sign-flip", "huge"])
      for (const bucket of name === "mean" ? [1] : [1, 2]) {
        const rows = [...updatesOf(kind), ...normals(reference.n + 8, reference.d)];
        for (const [, numbers] of REFERENCE[name]) {
          const given = { rows, hostile: 2, numbers, bucket, centre: vector("previous") };
          const first = outcomeOf(rule, given);
          for (let i = 0; i < 4; i++) {
            const order = [...chance.shuffle(Uint32Array.from(rows.keys()))];
            assert.deepEqual(outcomeOf(rule, { ...given, order }), first);
            assert.deepEqual(outcomeOf(rule, { ...given, order }, plain), first);
          }
        }
      }
  });

  test(`${name}: refuses a round of one update fewer than its condition, and says both numbers`, () => {
    for (const hostile of [0, 1, 2, 3])
      for (const bucket of [1, 3]) {
        const given = { rows: [], hostile, bucket };
        const least = leastUpdates(rule, settingsOf(rule, given));
        if (name !== "mean") {
          const rows = normals(Math.max(1, least - 1), 5);
          if (least > 1)
            assert.throws(() => outcomeOf(rule, { ...given, rows }), {
              name: "ConfigError",
              code: "rule",
              message: new RegExp(
                `at least ${least} updates, got ${least - 1}: ${name} with \\d hostile needs n >= `,
              ),
            });
        }
        outcomeOf(rule, { ...given, rows: normals(least, 5) });
      }
  });

  test(`${name}: equal updates give that update`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 11, max: 14 }), fc.integer(), (count, seed) => {
        const [row] = [Float32Array.from({ length: 7 }, (_, i) => Math.sin(seed + i))];
        const rows = Array.from({ length: count }, () => row);
        // A clip leaves it as it is where it is within the radius.
        const numbers = "radius" in rule.defaults ? { radius: 8 } : {};
        assertNear(
          outcomeOf(rule, { rows, hostile: 2, numbers }),
          Float64Array.from(row),
          1e-9,
          "the update",
        );
      }),
      { numRuns: 20 },
    );
  });

  // Not those that look from a fixed point.
  if (!("radius" in rule.defaults) && name !== "norm-filter")
    test(`${name}: updates that are all moved move the outcome by as much`, () => {
      const rows = normals(13, 9).map((row) => row.map((x) => Math.round(64 * x) / 64));
      const move = Float32Array.from({ length: 9 }, (_, i) => i - 3);
      const given = { hostile: 2, rows };
      const moved = rows.map((row) => row.map((x, i) => x + move[i]));
      assertNear(
        outcomeOf(rule, { ...given, rows: moved }),
        outcomeOf(rule, given).map((x, i) => x + move[i]),
        1e-7,
        "the moved outcome",
      );
    });
}

for (const name of ["median", "trimmed-mean"])
  test(`${name}: hostile updates, whatever they are, leave it in the honest ones' range`, () => {
    const value = fc.float({ min: -1e6, max: 1e6, noNaN: true });
    const row = fc
      .array(value, { minLength: 4, maxLength: 4 })
      .map((row) => Float32Array.from(row));
    fc.assert(
      fc.property(
        fc.array(row, { minLength: 5, maxLength: 8 }),
        fc.array(row, { minLength: 2, maxLength: 2 }),
        (honest, hostile) => {
          const rows = [hostile[0], ...honest, hostile[1]];
          const outcome = outcomeOf(ruleNamed(name), { rows, hostile: 2 });
          outcome.forEach((x, i) => {
            const own = honest.map((row) => row[i]);
            const slack = 1e-9 * Math.max(...own.map(Math.abs));
            assert.ok(x >= Math.min(...own) - slack && x <= Math.max(...own) + slack);
          });
        },
      ),
    );
  });

test("krum: scores of updates that tie are equal, and the first of them is picked", () => {
  const { updates, f, scores, krumPick } = reference.ties;
  const rows = updates.map((update) => Float32Array.from(update));
  const round = { rows, weights: [], hostile: f, settings: {}, arithmetic: wasm };
  const centre = new Float64Array(rows[0].length);
  const distances = distancesIn({ ...round, centre });
  assert.deepEqual(krumScores(distances, [...rows.keys()], f), scores);
  assert.deepEqual(ruleNamed("krum").combine({ ...round, centre }).picks, [krumPick]);
});

test("krum: scores are those of the reference program", () => {
  for (const [kind, { krumScores: expected }] of Object.entries(reference.cases)) {
    const rows = updatesOf(kind);
    const centre = vector("previous");
    const round = { rows, weights: [], hostile: f, settings: {}, centre, arithmetic: wasm };
    krumScores(distancesIn(round), [...rows.keys()], f).forEach((score, i) =>
      assert.ok(Math.abs(score / expected[i] - 1) <= 1e-9),
    );
  }
});

test("rfa: no step makes the smoothed sum of distances larger", () => {
  const nu = 1e-6;
  const smoothed = (r: number) => (r < nu ? (r * r) / nu / 2 + nu / 2 : r);
  for (const kind of Object.keys(reference.cases)) {
    const rows = updatesOf(kind);
    let last = Infinity;
    for (let steps = 1; steps <= 8; steps++) {
      const at = outcomeOf(ruleNamed("rfa"), { rows, numbers: { steps } });
      const sum = rows.reduce(
        (total, row) => total + smoothed(Math.hypot(...row.map((x, i) => x - at[i]))),
        0,
      );
      assert.ok(sum <= last * (1 + 1e-6), `${kind}, step ${steps}: ${sum} after ${last}`);
      last = sum;
    }
  }
});

test("centred-clipping: three passes are three rounds of the same updates", () => {
  for (const kind of Object.keys(reference.cases)) {
    let centre = vector("previous");
    for (let pass = 0; pass < 3; pass++)
      centre = outcomeOf(ruleNamed("centred-clipping"), {
        rows: updatesOf(kind),
        numbers: { radius: tau },
        centre,
      });
    assertNear(centre, vector(`${kind}/centredClipping3`), 1e-12, kind);
  }
});

test("a clip streams the outcome that it has where all updates are there", () => {
  for (const name of ["centred-clipping", "norm-clip"]) {
    const rule = ruleNamed(name);
    const rows = updatesOf("huge");
    const settings = { radius: tau };
    const centre = vector("previous");
    const weights = rows.map(() => 1);
    const whole = rule.combine({ rows, weights, hostile: f, settings, centre, arithmetic: plain });
    assertNear(outcomeOf(rule, { rows, numbers: settings, centre }), whole.outcome, 1e-12, name);
  }
});

test("samples as weights are refused where hostile updates could hold half of them", () => {
  const rows = normals(7, 3);
  for (const name of ["median", "rfa"])
    assert.throws(
      () =>
        outcomeOf(ruleNamed(name), {
          rows,
          hostile: 2,
          weights: [100, 90, 1, 2, 3, 4, 5],
          numbers: { weighted: 1 },
        }),
      { code: "rule", message: /the 2 updates with the most samples have 190 of all 205/ },
    );
});

test("kernels and the plain loops give the same bits at every length and number of rows", () => {
  for (const [count, size] of [
    [1, 1],
    [2, 127],
    [5, 128],
    [7, 131],
    [20, 1027],
    [9, 65_539],
  ]) {
    const rows = normals(count, size);
    const centre = Float64Array.from(normals(1, size)[0]);
    assert.deepEqual(wasm.squaredDistances(rows), plain.squaredDistances(rows));
    const lengths = plain.squaredLengths(rows[0], centre);
    const [own] = wasm.sums(size, 1);
    own.set(centre);
    for (const from of [centre, own]) assert.deepEqual(wasm.squaredLengths(rows[0], from), lengths);
    const columns = (arithmetic: typeof plain) => {
      const all = new Float32Array(count * size);
      arithmetic.sortedColumns(rows, ({ values, stride, from, count: some }) => {
        for (let i = 0; i < some; i++)
          for (let r = 0; r < count; r++) all[(from + i) * count + r] = values[r * stride + i];
      });
      return all;
    };
    assert.deepEqual(columns(wasm), columns(plain));
  }
});
