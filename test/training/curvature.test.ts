import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf, type Network } from "../../runtime/models/network.js";
import { lanczos } from "../../runtime/flatness/lanczos.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { random } from "../../runtime/tensors/random.js";
import { compile, type Plan } from "../../runtime/training/plan.js";
import type { Purpose } from "../../runtime/training/memory-plan.js";
import { BUILDS, openKernels, relativeError, vectorFrom, vectorsOf } from "./engines.js";

const NO_MAN = { zeta: 0, includesLogits: false };

function productOf(plan: Plan, batch: number, penalty = NO_MAN) {
  const { size } = plan.network.layout;
  const view = (address: number) => new Float32Array(plan.heap.memory.buffer, address, size);
  return (direction: ArrayLike<number>) => {
    view(plan.direction).set(direction);
    plan.hessianProduct(batch, penalty);
    return view(plan.product).slice();
  };
}

/** Largest algebraic eigenvalue of a symmetric matrix. */
async function topEigenvalue(rows: readonly Float32Array[]): Promise<number> {
  const times = async (v: Float64Array) =>
    Float64Array.from(rows, (row) => {
      let sum = 0;
      for (let i = 0; i < row.length; i++) sum += row[i] * v[i];
      return sum;
    });
  const { values } = await lanczos(times, rows.length, { count: 1, seed: 1 });
  return values[0];
}

for (const build of BUILDS)
  for (const { name, json, tensors } of vectorsOf("hessian", "objective")) {
    const { json: objective } = vectorsOf("objective").find((one) => one.name === name)!;
    test(`hessian-${name}, ${build} build: trace, top eigenvalue and blocks of the reference`, async () => {
      const { kernels, heap } = await openKernels(build);
      const network = networkOf(parseDescription(objective.model));
      const { layout } = network;
      const labels = tensors.get("y")!.data;
      const plan = compile(network, labels.length, kernels, heap, "curvature");
      plan.setWeights(vectorFrom(tensors, "param", layout));
      plan.inputs().set(tensors.get("x")!.data);
      plan.labels().set(labels);
      const product = productOf(plan, labels.length);
      const unit = (i: number) => {
        const v = new Float32Array(layout.size);
        v[i] = 1;
        return v;
      };
      const rows = Array.from({ length: layout.size }, (_, i) => product(unit(i)));
      const close = (actual: number, expected: number, what: string) =>
        assert.ok(
          Math.abs(actual - expected) <= 1e-4 * Math.abs(expected) + 1e-6,
          `${what} expected ${expected}, got ${actual}`,
        );
      close(
        rows.reduce((sum, row, i) => sum + row[i], 0),
        json.trace,
        "trace",
      );
      for (let i = 0; i < rows.length; i += 7)
        for (let j = 0; j < i; j += 5)
          assert.ok(Math.abs(rows[i][j] - rows[j][i]) < 1e-5, "not symmetric");
      close(await topEigenvalue(rows), json.topEigenvalues[0], "top");
      for (const place of layout.parameters) {
        const block = rows
          .slice(place.offset, place.offset + place.size)
          .map((row) => parameterView(row, place));
        const expected = json.blockTopEigenvalues[place.name];
        close(await topEigenvalue(block), expected, place.name);
      }
    });
  }

/** Every kind of layer, and combinations that the vectors lack. */
const NETWORKS: Record<string, Network> = {
  image: networkOf(
    parseDescription({
      input: [9, 8, 2],
      layers: [
        { type: "groupNorm", groups: 1 },
        {
          type: "conv2d",
          filters: 4,
          kernelSize: [3, 2],
          strides: [2, 1],
          padding: "same",
        },
        { type: "groupNorm", groups: 2 },
        { type: "relu" },
        {
          type: "depthwiseConv2d",
          kernelSize: 3,
          multiplier: 2,
          padding: "same",
          activation: "relu",
        },
        { type: "avgPool", size: 2, strides: 1, padding: "same" },
        { type: "dropout", rate: 0.3 },
        { type: "conv2d", filters: 5, kernelSize: 2 },
        { type: "maxPool", size: 2, strides: 1, padding: "same" },
        { type: "relu" },
        { type: "globalAvgPool" },
        { type: "dense", units: 6, activation: "relu" },
        { type: "dense", units: 3 },
      ],
    }),
  ),
  sequence: networkOf(
    parseDescription({
      input: [20, 3],
      layers: [
        { type: "relu" },
        {
          type: "conv1d",
          filters: 6,
          kernelSize: 4,
          strides: 2,
          padding: "same",
          activation: "relu",
        },
        { type: "maxPool", size: 3, strides: 2 },
        { type: "conv1d", filters: 5, kernelSize: 2 },
        { type: "flatten" },
        { type: "relu" },
        { type: "dense", units: 7 },
        { type: "dropout", rate: 0.2 },
        { type: "dense", units: 4 },
      ],
    }),
  ),
};

for (const build of BUILDS)
  for (const [name, network] of Object.entries(NETWORKS))
    for (const penalty of [NO_MAN, { zeta: 0.5, includesLogits: true }]) {
      const what = `${name} network, zeta ${penalty.zeta}, ${build} build`;
      const batch = 5;
      const { size } = network.layout;
      const setUp = async (purpose: Purpose) => {
        const { kernels, heap } = await openKernels(build);
        const plan = compile(network, batch + 2, kernels, heap, purpose);
        const chance = random("set-up", name);
        const weights = initialWeights(network, "weights").map(
          (weight) => weight + 0.1 * chance.normal(),
        );
        plan.inputs().forEach((_, i, all) => (all[i] = chance.normal()));
        plan.labels().forEach((_, i, all) => (all[i] = chance.integer(network.classes)));
        const direction = weights.map(() => chance.normal() / Math.sqrt(size));
        const move = (step: number) =>
          plan.setWeights(weights.map((w, i) => w + step * direction[i]));
        move(0);
        return { plan, heap, weights, direction, move };
      };

      test(`gradients agree with finite differences: ${what}`, async () => {
        const { plan, heap, direction, move } = await setUp("train");
        const objective = () => {
          // The same seed drops the same elements each time.
          const measured = plan.lossAndGradient(batch, penalty, random("drop"));
          const norms = measured.activationNorms.reduce((a, b) => a + b, 0);
          return measured.loss + (penalty.zeta / 2) * norms;
        };
        objective();
        const gradient = new Float32Array(heap.memory.buffer, plan.gradient, size).slice();
        const slope = gradient.reduce((sum, g, i) => sum + g * direction[i], 0);
        const h = 3e-3;
        move(h);
        const above = objective();
        move(-h);
        const difference = (above - objective()) / (2 * h);
        const length = Math.hypot(...gradient);
        assert.ok(
          Math.abs(slope - difference) < 5e-3 * length,
          `${slope} against ${difference}, gradient of length ${length}`,
        );
      });

      test(`Hessian-vector products agree with differences of gradients: ${what}`, async () => {
        const { plan, heap, direction, move } = await setUp("curvature");
        const product = productOf(plan, batch, penalty)(direction);
        const gradientAt = (step: number) => {
          move(step);
          // A product leaves the gradient without dropout behind.
          plan.hessianProduct(batch, penalty);
          return new Float32Array(heap.memory.buffer, plan.gradient, size).slice();
        };
        // Small enough to cross few kinks, large enough for float32: the worst error is taken where
        // it is least.
        const errors = [3e-2, 1e-2, 3e-3, 1e-3].map((h) => {
          const above = gradientAt(h);
          const below = gradientAt(-h);
          return relativeError(
            above.map((g, i) => (g - below[i]) / (2 * h)),
            product,
          );
        });
        assert.ok(Math.min(...errors) < 2e-2, `off by ${errors.join(", ")}`);
      });
    }
