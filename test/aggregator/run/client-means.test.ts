import assert from "node:assert/strict";
import { test } from "node:test";
import { clientMeans, type Measured } from "../../../aggregator/run/client-means.js";

const said = (
  client: string,
  lossAfter: number,
  activationNorms: readonly number[] = [],
  samples = 10,
): Measured => ({ client, samples, metrics: { lossBefore: 2, lossAfter, activationNorms } });

test("figures are means over all samples", () => {
  const { means, doubts } = clientMeans([said("a", 1, [2, 4], 10), said("b", 2, [4, 8], 30)], 2);
  assert.deepEqual(means, {
    samples: 40,
    lossBefore: 2,
    lossAfter: 1.75,
    activationNorms: [3.5, 7],
  });
  assert.deepEqual(doubts, []);
});

test("a figure that cannot be is left out, and its client is named", () => {
  const { means, doubts } = clientMeans(
    [said("a", 1, [2]), said("b", -1e30, [2]), said("c", 1, [2, 2]), said("d", 3, [4])],
    1,
  );
  assert.deepEqual(means, {
    samples: 40,
    lossBefore: 2,
    lossAfter: 2,
    activationNorms: [3],
  });
  assert.deepEqual(doubts, [
    { client: "b", reason: '"lossAfter" expected 0 or more, got -1e+30' },
    { client: "c", reason: '"activationNorms" expected 1 numbers, got 2' },
  ]);
});

test("a figure far beyond the others' counts as much as a multiple of their median", () => {
  const { means, doubts } = clientMeans(
    [said("a", 1, [1]), said("b", 1, [1]), said("c", 1, [1]), said("d", 1e30, [1e30])],
    1,
  );
  // (1 + 1 + 1 + 20) / 4 and (1 + 1 + 1 + 10) / 4.
  assert.equal(means.lossAfter, 5.75);
  assert.deepEqual(means.activationNorms, [3.25]);
  assert.deepEqual(
    doubts.map(({ client }) => client),
    ["d", "d"],
  );
});

test("losses that are large for all count as they are", () => {
  const { means, doubts } = clientMeans([said("a", 300), said("b", 100)], 0);
  assert.equal(means.lossAfter, 200);
  assert.deepEqual(doubts, []);
});

test("who measures no norms is left out of them, and nothing is said", () => {
  const { means, doubts } = clientMeans([said("a", 1), said("b", 1, [3])], 1);
  assert.deepEqual([means.activationNorms, doubts], [[3], []]);
});

test("nobody is blamed for what a diverged model does, and no figure counts with more for it", () => {
  const diverged = [said("a", 400, [1]), said("b", 500, [2]), said("c", 9e5, [90])];
  const { means, doubts } = clientMeans(diverged, 1);
  assert.deepEqual(doubts, []);
  assert.equal(means.lossAfter, (400 + 500 + 5000) / 3);
  // Nor for layers that have died in most.
  const dead = [said("a", 1, [0]), said("b", 1, [0]), said("c", 1, [0.2])];
  assert.deepEqual(clientMeans(dead, 1).doubts, []);
});
