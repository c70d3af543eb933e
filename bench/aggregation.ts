import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { plain, wasmArithmetic, type Arithmetic } from "../aggregator/aggregation/arithmetic.js";
import { RULES } from "../aggregator/aggregation/rules/built-in.js";
import type { Rule } from "../aggregator/aggregation/rules/rule.js";
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
  for (const name of Object.keys(TARGETS)) await longestTurn(report, name);
};

/**
 * Centred clipping takes updates as they come: what is done for each, which is to take its norm and
 * to add it, against the same of the mean; and of that the pass that adds.
 */
async function clippedFold(
  report: Parameters<Compare>[0],
  arithmetic: Arithmetic,
  x: Float32Array,
): Promise<void> {
  const [sum, centre] = arithmetic.sums(SIZE, 2);
  centre.fill(0.25);
  const c = 1.5 * 2 ** 32;
  const passes = {
    lengths: () => arithmetic.squaredLengths(x, centre),
    norm: () => arithmetic.squaredNorm(x),
    centred: () => arithmetic.foldCentred(sum, x, centre, 1 / 3, c),
    fold: () => arithmetic.fold(sum, x, 3, c),
  };
  const both = (first: () => unknown, second: () => unknown) => () => [first(), second()];
  const times = await takeTurns([
    here("clipped", both(passes.lengths, passes.centred)),
    here("mean", both(passes.norm, passes.fold)),
    here("centred", passes.centred),
    here("fold", passes.fold),
  ]);
  const rate = (name: string) => (4 * SIZE) / times[name] / 1e3;
  for (const [name, ours, baseline] of [
    ["an update's norm and fold", "clipped", "mean"],
    ["the fold alone", "centred", "fold"],
  ])
    report({
      name: `centred-clipping as updates arrive, ${name}`,
      value: rate(ours),
      unit: "MB/s",
      baseline: "mean",
      baselineValue: rate(baseline),
      ratio: rate(ours) / rate(baseline),
      target: ">= 250 MB/s",
      met: rate(ours) >= 250,
    });
}

/**
 * The longest that the event loop waits while the reducer's worker makes a round of that rule, in
 * a process of its own, against one that does nothing for as long.
 */
async function longestTurn(report: Parameters<Compare>[0], rule: string): Promise<void> {
  const { busy, idle } = JSON.parse(
    execFileSync(process.execPath, [fileURLToPath(new URL("turns.js", import.meta.url)), rule], {
      encoding: "utf8",
    }),
  ) as { busy: number; idle: number };
  report({
    name: `longest turn of the event loop during a round of ${rule}, quietest of three`,
    value: busy,
    unit: "ms",
    baseline: "an idle loop",
    baselineValue: idle,
    target: "<= 10 ms",
    met: busy <= 10,
  });
}
