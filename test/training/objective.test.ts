import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { random } from "../../runtime/tensors/random.js";
import { compile } from "../../runtime/training/plan.js";
import { BUILDS, openKernels, relativeError, vectorFrom, vectorsOf } from "./engines.js";

const TOLERANCE = 1e-4;
const chance = random(1);

for (const build of BUILDS)
  for (const { name, json, tensors } of vectorsOf("objective"))
    test(`objective-${name}, ${build} build: loss, norms, logits and every gradient of the reference`, async () => {
      const { kernels, heap } = await openKernels(build);
      const network = networkOf(parseDescription(json.model));
      const { layout } = network;
      const x = tensors.get("x")!;
      const labels = tensors.get("y")!.data;
      const batch = labels.length;
      const close = (actual: ArrayLike<number>, expected: ArrayLike<number>, what: string) => {
        const error = relativeError(actual, expected);
        assert.ok(error <= TOLERANCE, `${what} is off by ${error}`);
      };
      // One larger than the batch: a short batch in a plan for more is the common case.
      const plan = compile(network, batch + 1, kernels, heap);
      plan.setWeights(vectorFrom(tensors, "param", layout));
      plan.inputs().set(x.data);
      plan.labels().set(labels);

      const gradient = () =>
        new Float32Array(heap.memory.buffer, plan.gradient, layout.size).slice();
      const check = (zeta: number, prefix: string) => {
        const measured = plan.lossAndGradient(batch, { zeta, includesLogits: false }, chance);
        close([measured.loss], [json.crossEntropy], "cross-entropy");
        close(measured.activationNorms, json.activationNorms, "norms");
        const norms = measured.activationNorms.reduce((a, b) => a + b, 0);
        const withMan = measured.loss + (json.zeta / 2) * norms;
        close([withMan], [json.loss], "loss");
        const actual = gradient();
        for (const place of layout.parameters) {
          const expected = tensors.get(`${prefix}.${place.name}`)!.data;
          const what = `${prefix}.${place.name}`;
          close(parameterView(actual, place), expected, what);
        }
      };
      check(json.zeta, "grad");
      if (tensors.has(`gradWithoutMan.${layout.parameters[0].name}`)) check(0, "gradWithoutMan");
      const logits = tensors.get("logits")!.data;
      close(plan.forward(batch), logits, "logits");
      const forwardOnly = compile(network, batch, kernels, heap, "predict");
      forwardOnly.setWeights(plan.weights());
      forwardOnly.inputs().set(x.data);
      forwardOnly.labels().set(labels);
      close(forwardOnly.forward(batch), logits, "logits of a plan to predict");
      const { loss } = forwardOnly.evaluate(batch);
      close([loss], [json.crossEntropy], "evaluated cross-entropy");
    });
