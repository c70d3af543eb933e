import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { random } from "../../runtime/tensors/random.js";
import { readSafetensors } from "../../runtime/tensors/safetensors.js";
import { compile, type Plan } from "../../runtime/training/plan.js";
import { BUILDS, openKernels, relativeError, vectorFrom } from "./engines.js";

// Models that are graphs, against values that another program computed in float64 (PyTorch):
// outputs, norms, gradients with MAN and without it, and products with the Hessian.

const folder =
  process.env["FEDFLAT_MODEL_VECTORS"] ??
  fileURLToPath(new URL("../../../test/vectors/models/", import.meta.url));

const TOLERANCE = 1e-4;
const TOLERANCE_OF_SUMS = 1e-5;
/** Tensors below this are nothing but rounding. */
const NOTHING = 1e-7;

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (largest < NOTHING) {
    const worst = Array.from(actual).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    assert.ok(worst <= 1e-6, `${what} expected nothing, got ${worst}`);
    return;
  }
  const error = relativeError(actual, expected);
  assert.ok(error <= TOLERANCE, `${what} is off by ${error}`);
}

const names = readdirSync(folder)
  .filter((file) => /^objective-.*\.json$/.test(file))
  .map((file) => file.slice("objective-".length, -".json".length));

test("there are models to compare with", () => assert.ok(names.length > 0));

for (const build of BUILDS)
  for (const name of names)
    test(`${name}, ${build} build: outputs, norms, gradients and Hessian products of the reference`, async () => {
      const json = JSON.parse(readFileSync(join(folder, `objective-${name}.json`), "utf8"));
      const file = readFileSync(join(folder, `objective-${name}.safetensors`));
      const { tensors } = readSafetensors(file);
      const { kernels, heap } = await openKernels(build);
      const network = networkOf(parseDescription(json.model));
      const { layout, shares } = network;
      const learning = shares.learning.layout;
      if (json.trained !== undefined)
        assert.deepEqual(
          learning.parameters.map((place) => place.name),
          json.trained,
        );
      const x = tensors.get("x")!;
      const batch = x.shape[0];
      const chance = random(1);
      const { statistics = [] } = json;
      const weights = new Float32Array(layout.size);
      for (const place of layout.parameters) {
        const kind = statistics.includes(place.name) ? "statistic" : "param";
        weights.set(tensors.get(`${kind}.${place.name}`)!.data, place.offset);
      }
      const fill = (plan: Plan) => {
        plan.setWeights(weights);
        plan.inputs().set(x.data);
        const y = tensors.get("y");
        if (network.loss.target.kind === "classes") plan.labels().set(y!.data);
        else if (network.loss.target.kind === "numbers") plan.targets().set(y!.data);
      };
      const view = (address: number) =>
        new Float32Array(heap.memory.buffer, address, learning.size).slice();
      const compare = (vector: Float32Array, prefix: string) => {
        for (const place of learning.parameters)
          assertClose(
            parameterView(vector, place),
            tensors.get(`${prefix}.${place.name}`)!.data,
            `${prefix}.${place.name}`,
          );
      };
      const sum = (actual: number, expected: number, what: string) =>
        assert.ok(
          Math.abs(actual - expected) <= TOLERANCE_OF_SUMS * Math.abs(expected),
          `${what} expected ${expected}, got ${actual}`,
        );

      // One larger than the batch: a short batch in a plan for more is the common case.
      const plan = compile(network, batch + 1, kernels, heap);
      fill(plan);
      assert.deepEqual(plan.taps, json.taps);
      const check = (zeta: number, prefix: string) => {
        fill(plan);
        const penalty = { zeta, includesLogits: false };
        const measured = plan.lossAndGradient(batch, penalty, chance, "learned");
        sum(measured.loss, json.taskLoss, "loss");
        measured.activationNorms.forEach((norm, i) =>
          sum(norm, json.activationNorms[i], `norm ${i}`),
        );
        compare(view(plan.gradient), prefix);
        for (const place of layout.parameters)
          if (statistics.includes(place.name))
            assertClose(
              parameterView(plan.weights(), place),
              tensors.get(`statisticAfter.${place.name}`)!.data,
              `${place.name} after the batch`,
            );
      };
      check(json.zeta, "grad");
      check(0, "gradWithoutMan");
      // As it predicts: with running statistics, where there are such.
      const output = tensors.get("logitsPredicting") ?? tensors.get("logits")!;
      const { taskLoss } = json.predicting ?? json;
      fill(plan);
      assertClose(plan.forward(batch), output.data, "output without training");
      plan.free();

      const forwardOnly = compile(network, batch, kernels, heap, "predict");
      fill(forwardOnly);
      assertClose(forwardOnly.forward(batch), output.data, "output of a plan to predict");
      sum(forwardOnly.evaluate(batch).loss, taskLoss, "evaluated loss");
      forwardOnly.free();

      const curved = compile(network, batch, kernels, heap, "curvature");
      fill(curved);
      new Float32Array(heap.memory.buffer, curved.direction, learning.size).set(
        vectorFrom(tensors, "direction", learning),
      );
      curved.hessianProduct(batch, { zeta: json.zeta, includesLogits: false });
      // The reference's gradient is that of training.
      if (statistics.length === 0) compare(view(curved.gradient), "grad");
      compare(view(curved.product), "product");
    });
