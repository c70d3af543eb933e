import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { LOSS_KINDS } from "../../runtime/models/losses/built-in.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import { compile } from "../../runtime/training/plan.js";
import { BUILDS, openKernels } from "../training/engines.js";
import { differencesOf, fill, near, placesToLookAt, vectorAt, type Given } from "./differences.js";

// What holds for every loss, so that a new one inherits it: its value is that of the plain reading
// of the language (plain.ts), and gradients and products with the Hessian follow by differences.

interface LossCase {
  readonly fields: object;
  readonly input: readonly number[];
  readonly units: number;
  /** What one number of an example's target is. */
  target(chance: ReturnType<typeof random>): number;
}

const labels = (classes: number) => (chance: ReturnType<typeof random>) => chance.integer(classes);
const numbers = (chance: ReturnType<typeof random>) => chance.normal();

const LOSS_CASES: Readonly<Record<keyof typeof LOSS_KINDS, readonly LossCase[]>> = {
  softmaxCrossEntropy: [
    { fields: {}, input: [5], units: 4, target: labels(4) },
    { fields: { classWeights: [1, 2, 0.5] }, input: [5], units: 3, target: labels(3) },
    // A class for each position, some of them left out.
    { fields: {}, input: [4, 3], units: 3, target: (chance) => chance.integer(4) - 1 },
    {
      fields: { classWeights: [2, 0.5, 1] },
      input: [4, 3],
      units: 3,
      target: (chance) => chance.integer(4) - 1,
    },
  ],
  sigmoidCrossEntropy: [
    { fields: {}, input: [5], units: 1, target: labels(2) },
    { fields: { positiveWeights: [3, 0.5, 1] }, input: [5], units: 3, target: labels(2) },
    { fields: {}, input: [4, 3], units: 2, target: (chance) => chance.next() },
  ],
  meanSquaredError: [
    { fields: {}, input: [5], units: 2, target: numbers },
    { fields: {}, input: [4, 3], units: 2, target: numbers },
    { fields: { target: "input" }, input: [4, 3], units: 3, target: numbers },
  ],
  meanAbsoluteError: [
    { fields: {}, input: [5], units: 2, target: numbers },
    { fields: { target: "input" }, input: [5], units: 5, target: numbers },
  ],
  huber: [
    { fields: {}, input: [5], units: 3, target: (chance) => 2 * chance.normal() },
    { fields: { delta: 0.3 }, input: [4, 3], units: 2, target: numbers },
    { fields: { target: "input", delta: 0.5 }, input: [5], units: 5, target: numbers },
  ],
};

const BATCH = 4;
const ZETA = 0.3;

for (const type of Object.keys(LOSS_KINDS) as (keyof typeof LOSS_KINDS)[])
  LOSS_CASES[type].forEach(({ fields, input, units, target }, index) => {
    const network = networkOf(
      parseDescription({
        input,
        loss: { type, ...fields },
        layers: [
          { type: "dense", units: 6, activation: "tanh" },
          { type: "dense", units },
        ],
      }),
    );
    const chance = random("every loss", type, index);
    const weights = initialWeights(network, "w").map((weight) => weight + 0.3 * chance.normal());
    const size = network.input.reduce((a, b) => a * b);
    const x = Float32Array.from({ length: BATCH * size }, () => chance.normal());
    const targets = Array.from({ length: BATCH }, (_, b) =>
      network.loss.target.kind === "input"
        ? [...x.subarray(b * size, (b + 1) * size)]
        : [...Float32Array.from({ length: network.loss.target.size }, () => target(chance))],
    );
    const given: Given = { network, weights, x, targets };
    const differences = differencesOf(given);
    const places = placesToLookAt(network, 12);
    const direction = weights.map((_, i) => Math.cos(i * 2.3) / Math.sqrt(weights.length));

    for (const build of BUILDS)
      test(`${type} ${index + 1}, ${build} build: value, count, gradients and Hessian products`, async () => {
        const { kernels, heap } = await openKernels(build);
        const expected = differences.objective(weights, 0);
        const close = (value: number) =>
          assert.ok(
            Math.abs(value - expected.loss) <= 1e-5 * (1 + expected.loss),
            `expected ${expected.loss}, got ${value}`,
          );
        const penalty = { zeta: ZETA, includesLogits: false };
        const plan = compile(network, BATCH + 1, kernels, heap);
        fill(plan, given);
        // A full batch before it, of which nothing may be left.
        plan.lossAndGradient(BATCH + 1, penalty, random("another"));
        const { loss, count } = plan.lossAndGradient(BATCH, penalty, random("drop"));
        close(loss);
        const counted = targets.flat().filter((one) => type !== "softmaxCrossEntropy" || one >= 0);
        assert.equal(count, counted.length);
        near(
          network,
          vectorAt(plan, plan.gradient),
          differences.gradient(places, ZETA, "drop"),
          "gradient",
        );
        close(plan.evaluate(BATCH).loss);
        plan.free();

        const curved = compile(network, BATCH, kernels, heap, "curvature");
        fill(curved, given);
        new Float32Array(heap.memory.buffer, curved.direction, weights.length).set(direction);
        curved.hessianProduct(BATCH, penalty);
        near(
          network,
          vectorAt(curved, curved.product),
          differences.product(places, ZETA, direction),
          "Hessian product",
        );
        curved.free();
      });
  });

for (const build of BUILDS)
  test(`labels that are all left out have loss 0 and no gradient, ${build} build`, async () => {
    const { kernels, heap } = await openKernels(build);
    const network = networkOf(
      parseDescription({
        input: [4, 3],
        layers: [{ type: "dense", units: 3 }],
      }),
    );
    const plan = compile(network, 2, kernels, heap);
    plan.setWeights(initialWeights(network, "w"));
    plan.inputs().fill(1);
    plan.labels().fill(-1);
    const result = plan.lossAndGradient(2, { zeta: 0, includesLogits: false }, random("drop"));
    assert.deepEqual([result.loss, result.count], [0, 0]);
    assert.ok(vectorAt(plan, plan.gradient).every((value) => value === 0));
  });
