import assert from "node:assert/strict";
import { test } from "node:test";
import { epsilonOf, noiseFor } from "../../../aggregator/privacy/accountant.js";
import {
  analyticSigma,
  gaussianDelta,
  logNormalTail,
  normalTail,
} from "../../../aggregator/privacy/gaussian.js";
import { lossEpsilon } from "../../../aggregator/privacy/loss-distribution.js";
import { renyi, renyiEpsilon } from "../../../aggregator/privacy/renyi.js";
import { reference } from "./privacy-vectors.js";

const near = (got: number, expected: number, relative: number, what: string) =>
  assert.ok(
    Math.abs(got - expected) <= relative * Math.abs(expected),
    `${what}: expected ${expected}, got ${got}`,
  );

test("tails of the normal distribution keep their digits", () => {
  // Abramowitz and Stegun, table 26.1 and 26.2.
  near(normalTail(1), 0.158655253931457, 1e-13, "1");
  near(normalTail(2), 0.022750131948179, 1e-12, "2");
  near(normalTail(-3), 1 - 0.00134989803163009, 1e-14, "-3");
  near(normalTail(3), 0.00134989803163009, 1e-13, "3");
  near(normalTail(5), 2.86651571879194e-7, 1e-13, "5");
  near(normalTail(30), 4.906713927148187e-198, 1e-12, "30");
  near(logNormalTail(30), Math.log(4.906713927148187e-198), 1e-14, "log at 30");
  near(normalTail(2.5), 0.00620966532577613, 1e-12, "2.5");
  near(normalTail(2.4999999), 0.00620966532577613, 1e-6, "both sides of the crossing");
});

for (const row of reference.subsampledGaussian) {
  const { q, z, T, delta } = row;
  const releases = [{ sampling: q, noise: z, rounds: T }];
  test(`epsilon at q ${q}, z ${z}, ${T} rounds, delta ${delta}`, () => {
    for (const [order, expected] of Object.entries(row.rdpAt)) {
      near(renyi(q, z, Number(order)), expected, 1e-9, `Renyi at ${order}`);
      near(renyi(q, z, Number(order) + 1e-9), expected, 1e-6, `quadrature at ${order}`);
    }
    const whole = renyiEpsilon(releases, delta, reference.orders);
    near(whole.epsilon, row.rdpEpsilon, 1e-6, "Renyi, whole orders");
    assert.equal(whole.order, row.rdpOrder);
    const fine = renyiEpsilon(releases, delta).epsilon;
    near(fine, row.rdpEpsilonFractional, 1e-6, "Renyi, fractional orders");
    near(lossEpsilon(releases, delta, "add"), row.pldEpsilonAdd, 1e-4, "add");
    const epsilon = epsilonOf(releases, delta);
    near(epsilon, row.pldEpsilon, 1e-4, "reported");
    assert.ok(epsilon >= (row.exact ?? row.pldEpsilon) * (1 - 1e-5), `${epsilon} is too low`);
    assert.ok(epsilon <= fine * (1 + 1e-4), "its check is below it");
  });
}

test("releases of different kinds add up, whatever their order", () => {
  const some = { sampling: 0.1, noise: 1, rounds: 40 };
  const others = { sampling: 1, noise: 8, rounds: 10 };
  const both = epsilonOf([some, others], 1e-5);
  const inParts = [others, { ...some, rounds: 1 }, { ...some, rounds: 39 }];
  near(epsilonOf(inParts, 1e-5), both, 1e-9, "order and parts");
  assert.ok(both > Math.max(epsilonOf([some], 1e-5), epsilonOf([others], 1e-5)));
  assert.ok(both <= renyiEpsilon([some, others], 1e-5).epsilon);
  // The convolution with all clients in is the closed form.
  near(lossEpsilon([others], 1e-5, "remove"), epsilonOf([others], 1e-5), 1e-4, "closed form");
});

test("the account of nothing, of no noise, of next to no noise", () => {
  assert.equal(epsilonOf([], 1e-5), 0);
  assert.equal(epsilonOf([{ sampling: 0.1, noise: 1, rounds: 0 }], 1e-5), 0);
  assert.equal(epsilonOf([{ sampling: 1, noise: 0, rounds: 1 }], 1e-5), Infinity);
  assert.ok(epsilonOf([{ sampling: 0.5, noise: 0.01, rounds: 100 }], 1e-5) > 500);
  assert.throws(() => epsilonOf([{ sampling: 1, noise: 1, rounds: 1 }], 1e-11), /"delta" expected/);
});

for (const { q, T, delta, epsilon, z } of reference.calibration)
  test(`the least noise for epsilon ${epsilon} at q ${q} over ${T} rounds`, () => {
    const noise = noiseFor(epsilon, { sampling: q, rounds: T }, delta);
    near(noise, z, 1e-3, "noise");
    assert.ok(epsilonOf([{ sampling: q, noise, rounds: T }], delta) <= epsilon);
  });

for (const { epsilon, delta, sigma } of reference.analyticGaussian)
  test(`the least deviation for epsilon ${epsilon}, delta ${delta}`, () => {
    near(analyticSigma(epsilon, delta), sigma, 1e-6, "sigma");
    assert.ok(gaussianDelta(epsilon, 1 / analyticSigma(epsilon, delta)) <= delta);
  });

test("a sample's discrete Gaussian costs what the account says", () => {
  const { q, sigma2, shift, orders } = reference.subsampledDiscreteGaussian;
  for (const [order, { exact }] of Object.entries(orders))
    near(renyi(q, Math.sqrt(sigma2) / shift, Number(order)), exact, 1e-9, order);
});
