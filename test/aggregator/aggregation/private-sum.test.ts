import assert from "node:assert/strict";
import { test } from "node:test";
import {
  chanceFrom,
  discreteGaussian,
  systemChance,
} from "../../../aggregator/aggregation/discrete-gaussian.js";
import { gaussianDelta } from "../../../aggregator/privacy/gaussian.js";
import {
  addInSteps,
  clippedToGrid,
  deviationFor,
  gridFor,
  withNoise,
} from "../../../aggregator/aggregation/private-sum.js";
import { reference, roundTensors } from "../privacy/privacy-vectors.js";

const squares = (values: ArrayLike<number>) =>
  Array.from(values).reduce((sum, x) => sum + x * x, 0);

test("updates are clipped and truncated to the grid as the vectors say", () => {
  const { C, z, fixedDenominator, truncationGrid, norms } = reference.round;
  const tensors = roundTensors();
  const [updates, clipped, unitNoise, noisyMean] = [
    ...["updates", "clipped", "unitNoise", "noisyMean"],
  ].map((name) => tensors.get(name)!);
  const [clients, size] = updates.shape;
  const sums = { delta: new Float64Array(size) };
  for (let i = 0; i < clients; i++) {
    const row = <T extends Float32Array | Float64Array>(data: T) =>
      data.subarray(i * size, (i + 1) * size) as T;
    const steps = clippedToGrid({ delta: row(updates.data as Float32Array) }, C, truncationGrid);
    assert.deepEqual(
      steps["delta"].map((x) => x * truncationGrid),
      Float64Array.from(row(clipped.data as Float64Array)),
    );
    const norm = Math.sqrt(squares(steps["delta"])) * truncationGrid;
    assert.ok(norm <= Math.min(C, norms[i]) * (1 + 1e-12));
    addInSteps(sums, steps);
  }
  sums.delta.forEach((sum, i) => {
    const mean = (sum * truncationGrid + z * C * (unitNoise.data[i] as number)) / fixedDenominator;
    assert.ok(Math.abs(mean - (noisyMean.data[i] as number)) < 1e-12);
  });
});

test("one norm over all vectors is clipped, and nothing is divided by 0", () => {
  const grid = 2 ** -20;
  const both = clippedToGrid({ a: Float32Array.of(3), b: Float32Array.of(-4) }, 1, grid);
  assert.ok(Math.abs(both["a"][0] * grid - 0.6) < grid);
  assert.ok(Math.abs(both["b"][0] * grid + 0.8) < grid);
  assert.deepEqual([...clippedToGrid({ a: new Float32Array(2) }, 1, grid)["a"]], [0, 0]);
});

test("the noise's deviation is never below the multiplier's, in steps the sampler takes", () => {
  for (const noise of [0.05, 0.3, 1, 1.1, 7, 1e4])
    for (const clip of [1e-6, 0.1, 1, 3, 1e5]) {
      const steps = deviationFor({ noise, clip });
      assert.ok(steps * gridFor({ noise, clip }) >= noise * clip);
      assert.ok(steps >= 2 ** 20 && steps <= 2 ** 21 + 2, `${noise} ${clip}: ${steps}`);
    }
});

for (const { sigma2, pmf } of reference.discreteGaussian)
  test(`the discrete Gaussian of variance ${sigma2} has its chances`, () => {
    const chance = systemChance();
    const draws = 40_000;
    const counts = new Map<number, number>();
    for (let i = 0; i < draws; i++) {
      const k = discreteGaussian(Math.sqrt(sigma2), chance);
      counts.set(k, (counts.get(k) ?? 0) + 1);
    }
    for (const [k, p] of Object.entries(pmf))
      for (const sign of [1, -1]) {
        const got = (counts.get(sign * Number(k)) ?? 0) / draws;
        // Five deviations and a half: once in 10^7 runs.
        const within = 5.5 * Math.sqrt(p / draws) + 2 / draws;
        assert.ok(Math.abs(got - p) <= within, `${k}: expected ${p}, got ${got}`);
      }
  });

test("20,000 draws at deviation 7 pass a chi-square test", () => {
  const chance = systemChance();
  const counts = new Float64Array(43);
  for (let i = 0; i < 20_000; i++) {
    const k = discreteGaussian(7, chance);
    if (Math.abs(k) <= 21) counts[k + 21]++;
  }
  const weight = (k: number) => Math.exp((-k * k) / 98);
  let total = 0;
  for (let k = -400; k <= 400; k++) total += weight(k);
  const statistic = counts.reduce((sum, count, i) => {
    const expected = (20_000 * weight(i - 21)) / total;
    return sum + (count - expected) ** 2 / expected;
  }, 0);
  // 85 on 42 degrees of freedom: once in 10,000 runs.
  assert.ok(statistic < 100, `${statistic}`);
});

test("noise of a whole vector has the mean, the deviation and the low bits it should have", () => {
  const protection = { noise: 1.1, clip: 0.5 };
  const size = 60_000;
  const { delta } = withNoise({ delta: new Float64Array(size) }, protection);
  const mean = delta.reduce((sum, x) => sum + x, 0) / size;
  const deviation = Math.sqrt(squares(delta) / size);
  assert.ok(Math.abs(mean) < (5.5 * 0.55) / Math.sqrt(size), `mean ${mean}`);
  assert.ok(Math.abs(deviation / 0.55 - 1) < 5.5 / Math.sqrt(2 * size), `deviation ${deviation}`);
  const grid = gridFor(protection);
  const residues = new Set(delta.map((x) => (((x / grid) % 16) + 16) % 16));
  assert.deepEqual(
    [...residues].sort((a, b) => a - b),
    [...Array(16).keys()],
  );
  // Quarters of the normal distribution: 0, 0.6745 and 1 deviations.
  const share = (most: number) => delta.filter((x) => x <= most * 0.55).length / size;
  for (const [at, expected] of [
    [-0.6744897501960817, 0.25],
    [0, 0.5],
    [0.6744897501960817, 0.75],
    [2, 0.9772498680518208],
  ])
    assert.ok(Math.abs(share(at) - expected) < 0.012, `${at}: ${share(at)}`);
});

test("no noise comes twice", () => {
  const draw = () => withNoise({ a: new Float64Array(32) }, { noise: 1, clip: 1 })["a"];
  assert.notDeepEqual(draw(), draw());
});

test("numbers below a bound are each as likely, and large products stay exact", () => {
  const chance = systemChance();
  const counts = new Float64Array(6);
  for (let i = 0; i < 30_000; i++) counts[chance.below(6)]++;
  for (const count of counts) assert.ok(Math.abs(count - 5000) < 400, `${count}`);
  // Words of ones lie above the last multiple of 3 and are drawn again.
  let filled = 0;
  const ones = chanceFrom((words) => words.fill(filled++ === 0 ? 0xffff_ffff : 7));
  assert.equal(ones.below(3), 7 % 3);
  const most = 2n ** 60n + 3n;
  for (let i = 0; i < 100; i++) assert.ok(chance.belowLarge(most) < most);
  assert.ok(Array.from({ length: 200 }, () => chance.below(2 ** 53)).some((x) => x > 2 ** 52));
});

test("who knows all other updates tells a member from none no better than epsilon allows", () => {
  const protection = { noise: 1.1, clip: 1 };
  const grid = gridFor(protection);
  const runs = 2000;
  const size = 8;
  const member = clippedToGrid({ a: new Float32Array(size).fill(3) }, protection.clip, grid);
  const others = clippedToGrid({ a: new Float32Array(size).fill(-0.2) }, protection.clip, grid);
  /** The likelihood ratio's statistic: how far the sum lies along the member's update. */
  const score = (isIn: boolean) => {
    const sums = { a: new Float64Array(size) };
    addInSteps(sums, others);
    if (isIn) addInSteps(sums, member);
    const { a } = withNoise(sums, protection);
    return (
      a.reduce((sum, x, i) => sum + (x / grid - others["a"][i]) * member["a"][i], 0) * grid ** 2
    );
  };
  const scores = [true, false].map((isIn) => Array.from({ length: runs }, () => score(isIn)));
  let best = -Infinity;
  for (const threshold of [-1, -0.5, 0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3]) {
    const [right, wrong] = scores.map((all) => all.filter((x) => x > threshold).length / runs);
    for (const epsilon of [0, 0.25, 0.5, 1, 2, 3]) {
      // Five deviations of both counts.
      const chance = 5 * Math.sqrt(0.25 / runs) * (1 + Math.exp(epsilon));
      const bound = gaussianDelta(epsilon, 1 / protection.noise);
      assert.ok(right - Math.exp(epsilon) * wrong <= bound + chance, `${threshold} ${epsilon}`);
      if (epsilon === 0) best = Math.max(best, right - wrong);
    }
  }
  // And the bound is not idle: the attack comes near to it.
  assert.ok(best > gaussianDelta(0, 1 / protection.noise) - 0.08, `${best}`);
});
