import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { stateGrid } from "../../aggregator/aggregation/weighted-mean.js";
import { algorithmNamed, BUILT_IN } from "../../runtime/algorithms/built-in.js";
import { onGrid } from "../../runtime/algorithms/vectors.js";
import { random } from "../../runtime/tensors/random.js";
import type { Trainer } from "../../runtime/training/job.js";
import { labTrainer } from "../faults/fixtures.js";
import { SUMS, steps, totalSteps } from "./exact.js";
import { begin, clientsOf, playRound, type Given, type Run } from "./rounds-in-process.js";

// The server's sum is that of the clients' states, to the bit: whichever client trains, comes late, stays
// away or joins.

/** Gives float32 deltas of any scale from 1e-6 to 10; nothing about them is round. */
const wildTrainer: Trainer = {
  ...labTrainer,
  async train(job, options) {
    const { metrics } = await labTrainer.train(job, options);
    const chance = random("wild", job.settings.seed);
    const scale = 10 ** (7 * chance.next() - 6);
    return { delta: job.weights.map(() => scale * chance.normal()), metrics };
  },
};

const FINEST = 2 ** -32;
const MOST = 7;

/**
 * A round: who takes part in which order, who of them too late, how many were asked, and how many
 * clients there are by now.
 */
const rounds = fc.array(
  fc.record({
    order: fc.shuffledSubarray(Array.from({ length: MOST }, (_, k) => k)),
    late: fc.subarray(Array.from({ length: MOST }, (_, k) => k)),
    selected: fc.constantFrom(7, 100, 700, 5000),
    joined: fc.integer({ min: 1, max: MOST }),
    learningRate: fc.constantFrom(0.1, 0.037),
    sizes: fc.array(fc.integer({ min: 1, max: 12 }), {
      minLength: MOST,
      maxLength: MOST,
    }),
  }),
  { minLength: 1, maxLength: 9 },
);

test("every algorithm that keeps state on the client says of which states its server keeps the sum", () =>
  assert.deepEqual(
    Object.keys(SUMS).sort(),
    BUILT_IN.filter(
      ({ client: { state, feedback, personal } }) =>
        state.length > 0 && feedback !== "residual" && personal === undefined,
    )
      .map(({ name }) => name)
      .sort(),
  ));

for (const [name, sums] of Object.entries(SUMS)) {
  const algorithm = algorithmNamed(name);
  const play = (
    run: Run,
    sizes: readonly number[],
    participants: readonly number[],
    given: Given,
  ) => playRound(wildTrainer, algorithm, run, clientsOf(sizes), participants, given);
  const check = ({ clients, state }: Run) => {
    for (const [server, client] of Object.entries(sums)) {
      const kept = clients.flatMap((state) => state[client] ?? []);
      if (kept.length > 0) assert.deepEqual(steps(state[server], FINEST), totalSteps(kept, FINEST));
    }
  };

  test(`${name}: the sum is exact after any rounds, of any clients in any order, while clients join and their data change`, () =>
    fc.assert(
      fc.asyncProperty(rounds, async (plan) => {
        let run = begin(algorithm, algorithm.defaults, 1);
        let population = 1;
        for (const [round, { order, joined, sizes, ...given }] of [...plan.entries()]) {
          population = Math.max(population, joined);
          const here = order.filter((k) => k < population);
          const now = sizes.slice(0, population);
          run = await play(run, now, here, { ...given, round });
          check(run);
        }
      }),
      { numRuns: 40 },
    ));

  test(`${name}: the sum is exact with a client that was away five rounds, whose updates are then late twice`, async () => {
    const sizes = [9, 4, 12, 7];
    let run = begin(algorithm, algorithm.defaults, 4);
    run = await play(run, sizes, [0, 1, 2, 3], { round: 0 });
    const before = run.clients[0];
    for (let round = 1; round <= 5; round++)
      run = await play(run, sizes, [1 + (round % 3)], { round });
    for (const round of [6, 7]) run = await play(run, sizes, [0, 2], { round, late: [0] });
    assert.deepEqual(run.clients[0], before);
    run = await play(run, sizes, [3, 0], { round: 8 });
    assert.notDeepEqual(run.clients[0], before);
    check(run);
  });
}

test("onGrid: the nearest multiple, ties to even, float32 again; nothing of 2^24 steps and more changes", () => {
  const grid = 2 ** -32;
  const given = [1.5 * grid, 2.5 * grid, -0.5 * grid, 0.51 * grid, 1 / 256];
  assert.deepEqual(
    [...onGrid(Float32Array.from([...given, 0.1, -900.123]), grid)],
    [2 * grid, 2 * grid, 0, grid, 1 / 256, ...Float32Array.of(0.1, -900.123)],
  );
  fc.assert(
    fc.property(
      fc.float({ noNaN: true, min: -1024, max: 1024 }),
      fc.integer({ min: -40, max: -8 }),
      (x, exponent) => {
        const grid = 2 ** exponent;
        const [rounded] = onGrid(Float32Array.of(x), grid);
        assert.ok(Number.isInteger(rounded / grid));
        assert.ok(Math.abs(rounded - x) <= grid / 2);
        assert.equal(onGrid(Float32Array.of(rounded), grid)[0], rounded);
      },
    ),
  );
});

test("a round's grid is a power of two, on that of its fold, and never so fine that many rounds have no room", () => {
  for (const maxAbs of [1, 1000, 1024, 1e6])
    for (const updates of [1, 10, 512, 513, 100_000]) {
      const grid = stateGrid(updates, maxAbs);
      assert.ok(Number.isInteger(Math.log2(grid)));
      // No sum of the round leaves 2^53 steps, and no sum of 2048 updates of one client does.
      assert.ok((updates * maxAbs) / grid <= 2 ** 52);
      assert.ok((2048 * maxAbs) / grid <= 2 ** 53);
    }
  assert.equal(stateGrid(10, 1024), FINEST);
});
