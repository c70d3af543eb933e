import assert from "node:assert/strict";
import { test } from "node:test";
import { edgeOf, thresholdOf } from "../../../aggregator/clients/threshold.js";
import { random } from "../../../runtime/tensors/random.js";

/** 256 bins, of which a client's errors fall into some. */
const binsOf = (errors: readonly number[]) => {
  const bins = new Array<number>(256).fill(0);
  for (const error of errors)
    bins[Math.max(0, Math.min(255, Math.floor(8 * Math.log2(error) + 160)))]++;
  return bins;
};
const of = (clients: Record<string, readonly number[]>, quantile = 0.9) =>
  thresholdOf(
    new Map(Object.entries(clients).map(([id, errors]) => [id, binsOf(errors)])),
    quantile,
    undefined,
  );

test("the threshold is within an eighth of an octave above the quantile of all errors", () => {
  const chance = random("threshold");
  const draw = () => Array.from({ length: 400 }, () => Math.exp(2 * chance.next() - 1));
  const [a, b] = [draw(), draw()];
  const sorted = [...a, ...b].sort((x, y) => x - y);
  const exact = sorted[Math.ceil(0.9 * sorted.length) - 1];
  const { value, members, leftOut } = of({ b, a })!;
  assert.ok(value >= exact && value <= exact * 2 ** (1 / 8), `${value} ${exact}`);
  assert.deepEqual([members, leftOut], [["a", "b"], []]);
});

test("from three clients on those whose quantiles are at the ends are left out", () => {
  const usual = [1, 1.1, 1.2, 1.3];
  const { value, members, leftOut } = of({ liar: [4000], a: usual, b: usual, blind: [1e-9] })!;
  assert.deepEqual(members, ["a", "b"]);
  assert.deepEqual(leftOut, ["blind", "liar"]);
  assert.ok(value >= 1.3 && value <= 1.3 * 2 ** (1 / 8));
  // Of twenty, two at each end.
  const twenty = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`c${i}`, [1 + i]]));
  assert.equal(of(twenty)!.members.length, 16);
});

test("whoever says little or nothing decides nothing; the bins at the ends are open", () => {
  assert.equal(of({ a: [] }), undefined);
  assert.deepEqual(of({ a: [], b: [1] })!.members, ["b"]);
  assert.equal(of({ a: [1e30] })!.value, 2 ** 12);
  assert.equal(of({ a: [0] })!.value, edgeOf(0));
});
