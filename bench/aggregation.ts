import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { plain, wasmArithmetic, type Arithmetic } from "../aggregator/aggregation/arithmetic.js";
import { firstCheckpoint } from "../aggregator/aggregation/reducer.js";
import { openReducerInWorker } from "../aggregator/aggregation/reducer-in-worker.js";
import { RULES, ruleNamed } from "../aggregator/aggregation/rules/built-in.js";
import type { Rule } from "../aggregator/aggregation/rules/rule.js";
import { fedavg } from "../runtime/algorithms/fedavg.js";
import { codecNamed } from "../runtime/codecs/built-in.js";
import { sha256Hex } from "../runtime/platform/node-sha256.js";
import { layoutOf } from "../runtime/tensors/layout.js";
import { random } from "../runtime/tensors/random.js";
import { here, takeTurns, type Compare } from "./comparison.js";

const CLIENTS = 20;
const SIZE = 1_000_000;
const HOSTILE = 4;

/** Targets in milliseconds, where there is one. */
const TARGETS: Readonly<Record<string, number>> = { median: 150, krum: 150 };

/** Each rule on updates of 20 clients with a million numbers each, in one thread. */
export const compare: Compare = async (report) => {
  const arithmetic = await wasmArithmetic();
  const chance = random("aggregation");
  const rows = Array.from({ length: CLIENTS }, () =>
    Float32Array.from({ length: SIZE }, () => chance.normal()),
  );
  const round = (rule: Rule, of: readonly Float32Array[], by: Arithmetic) => ({
    rows: of,
    weights: of.map(() => 1),
    hostile: HOSTILE,
    settings: rule.defaults,
    centre: new Float64Array(of[0].length),
    arithmetic: by,
  });
  for (const rule of RULES) {
    const some = rows.map((row) => row.subarray(0, 3001));
    assert.deepEqual(
      rule.combine(round(rule, some, arithmetic)),
      rule.combine(round(rule, some, plain)),
      rule.name,
    );
  }
  for (const rule of RULES) {
    const given = round(rule, rows, arithmetic);
    const times = await takeTurns([here(rule.name, () => rule.combine(given))], { turns: 5 });
    const value = times[rule.name];
    const target = TARGETS[rule.name];
    report({
      name: `${rule.name} of ${CLIENTS} updates of 1 M numbers`,
      value,
      unit: "ms",
      ...(target && { target: `<= ${target} ms`, met: value <= target }),
    });
  }
  await clippedFold(report, arithmetic, rows[0]);
  await longestTurn(report, rows);
};

/** Centred clipping takes updates as they come: its two loops against the fold's one. */
async function clippedFold(
  report: Parameters<Compare>[0],
  arithmetic: Arithmetic,
  x: Float32Array,
): Promise<void> {
  const [sum] = arithmetic.sums(SIZE, 1);
  const centre = new Float64Array(SIZE).fill(0.25);
  const c = 1.5 * 2 ** 32;
  const times = await takeTurns([
    here("clipped", () => {
      const distance = Math.sqrt(arithmetic.squaredDistance(x, centre));
      arithmetic.foldCentred(sum, x, centre, 1 / distance, c);
    }),
    here("fold", () => arithmetic.fold(sum, x, 3, c)),
  ]);
  const rate = (milliseconds: number) => (4 * SIZE) / milliseconds / 1e3;
  const value = rate(times.clipped);
  report({
    name: "centred-clipping as updates arrive",
    value,
    unit: "MB/s",
    baseline: "fold of the mean",
    baselineValue: rate(times.fold),
    ratio: value / rate(times.fold),
    target: ">= 250 MB/s",
    met: value >= 250,
  });
}

/** The longest that the event loop waits while the reducer's worker makes a round of Krum. */
async function longestTurn(
  report: Parameters<Compare>[0],
  rows: readonly Float32Array[],
): Promise<void> {
  const layout = layoutOf([{ name: "0.kernel", shape: [SIZE] }]);
  const numbers = ruleNamed("krum").defaults;
  const reducer = await openReducerInWorker({
    algorithm: "fedavg",
    algorithmSettings: {},
    codec: "float32",
    codecSettings: {},
    layout,
    maxAbs: 1024,
    maxNorm: Infinity,
    clipUpdateNorm: Infinity,
    rule: { rule: "krum", hostile: HOSTILE, numbers, bucket: 1, seed: "1" },
  });
  const first = firstCheckpoint(fedavg, {}, layout, {}, new Float32Array(SIZE));
  await reducer.load(first.state.bytes);
  const limits = { round: 1, attempt: 1, updates: CLIENTS, samples: 1, staleness: 0 };
  await reducer.openFold(limits);
  const form = codecNamed("float32").form(layout, ["delta"]);
  const updates = rows.map((delta) => {
    const bytes = form.encode({ delta });
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    return { bytes: shared, sha256: sha256Hex(bytes) };
  });
  const model = Uint8Array.from(first.model.bytes);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  for (const [i, { sha256, bytes }] of updates.entries()) {
    await reducer.check(`${i}`, sha256, bytes, { work: "", samples: 1, fromHalf: false });
    await reducer.fold(`${i}`, `client-${i}`, 1, 0);
  }
  await reducer.finish(model, CLIENTS);
  delay.disable();
  await reducer.close();
  const value = delay.max / 1e6;
  report({
    name: "longest turn of the event loop during a round of krum",
    value,
    unit: "ms",
    target: "<= 10 ms",
    met: value <= 10,
  });
}
