import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { BUILT_IN } from "../../runtime/algorithms/built-in.js";
import type { LocalObjective } from "../../runtime/algorithms/algorithm.js";
import { LAYER_KINDS, parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf, type Network } from "../../runtime/models/network.js";
import { putShare, takeShare } from "../../runtime/models/shares.js";
import type { Layout } from "../../runtime/tensors/layout.js";
import { random } from "../../runtime/tensors/random.js";
import { compile } from "../../runtime/training/plan.js";
import { stepperOf } from "../../runtime/training/step.js";
import { BUILDS, openKernels, relativeError } from "../training/engines.js";
import { LAYER_CASES, type LayerCase } from "./layer-cases.js";
import { differencesOf, fill, near, placesToLookAt, vectorAt, type Given } from "./differences.js";
import { outputsOf } from "./plain.js";

// What holds for every layer, so that a new one inherits it: its values are those of the plain
// reading of the language (plain.ts), and its gradients, MAN's part of them, its products with the
// Hessian and a step of every algorithm follow from those values by differences.

type Type = keyof typeof LAYER_KINDS;

const folder = new URL("../../runtime/models/layers/", import.meta.url);

test("every kind of layer in the folder stands in the language, under its own name", async () => {
  const found: string[] = [];
  for (const file of readdirSync(folder).filter((file) => file.endsWith(".js")))
    for (const value of Object.values(await import(new URL(file, folder).href))) {
      const kind = value as Partial<(typeof LAYER_KINDS)["dense"]> | undefined;
      if (typeof kind === "object" && kind?.resolve !== undefined && kind.schema !== undefined)
        found.push(kind.schema.entries.type.literal);
    }
  assert.deepEqual(found.sort(), Object.keys(LAYER_KINDS).sort());
});

const BATCH = 3;
const ZETA = 0.7;

/** The layer between others that learn: behind something smooth, before dense. */
function networkWith(type: Type, { input, fields, gate }: LayerCase, share = {}): Network {
  const channels = input[input.length - 1];
  const smooth = (name: string, inputs = ["input"]) =>
    input.length === 3
      ? { type: "conv2d", filters: channels, kernelSize: 1, activation: "tanh", name, inputs }
      : { type: "dense", units: channels, activation: "tanh", name, inputs };
  const several = "inputs" in LAYER_KINDS[type];
  const before =
    type === "embedding"
      ? []
      : [
          smooth("a"),
          ...(several ? [smooth("b")] : []),
          ...(gate ? [{ type: "globalMaxPool", name: "gate", inputs: ["b"] }] : []),
        ];
  const inputs = type === "embedding" ? ["input"] : several ? ["a", gate ? "gate" : "b"] : ["a"];
  const layers = [
    ...before,
    { type, ...fields, inputs, tap: true, ...share },
    { type: "flatten" },
    { type: "dense", units: 3 },
  ];
  return networkOf(parseDescription({ input, layers }));
}

/** Weights, examples and their classes; the same for the same network. */
function givenOf(network: Network, vocabulary?: number): Given {
  const chance = random("every layer", JSON.stringify(network.description));
  const weights = initialWeights(network, "w").map((weight) => weight + 0.2 * chance.normal());
  const size = network.input.reduce((a, b) => a * b);
  const x = Float32Array.from({ length: BATCH * size }, () =>
    vocabulary === undefined ? chance.normal() : chance.integer(vocabulary),
  );
  const targets = Array.from({ length: BATCH }, () => [chance.integer(3)]);
  return { network, weights, x, targets };
}

/** A direction in what learns. */
function directionOf({ layout, shares }: Network): Float32Array {
  const direction = new Float32Array(layout.size);
  for (const { offset, size } of shares.learning.places)
    for (let i = offset; i < offset + size; i++)
      direction[i] = Math.sin(i * 1.7) / Math.sqrt(layout.size);
  return direction;
}

for (const type of Object.keys(LAYER_CASES) as Type[])
  LAYER_CASES[type].forEach((one, index) => {
    const network = networkWith(type, one);
    const { vocabulary } = one.fields as { vocabulary?: number };
    const given = givenOf(network, vocabulary);
    const places = placesToLookAt(network);
    const differences = differencesOf(given);
    const what = `${type} ${index + 1}`;
    const penalty = { zeta: ZETA, includesLogits: false };
    // The same for both builds.
    let expected: ReturnType<typeof expect> | undefined;
    const expect = () => ({
      ...differences.objective(given.weights, 0, random("drop")),
      gradient: differences.gradient(places, ZETA, "drop"),
      plain: differences.gradient(places, 0, "drop"),
      direction: directionOf(network),
    });

    for (const build of BUILDS) {
      test(`${what}, ${build} build: values, taps, gradients and Hessian products`, async () => {
        expected ??= expect();
        const { kernels, heap } = await openKernels(build);
        // A short batch behind a full one, as at the end of an epoch.
        const plan = compile(network, BATCH + 2, kernels, heap);
        fill(plan, given);
        plan.inputs().forEach((_, i, all) => (all[i] = vocabulary === undefined ? i % 3 : 0));
        plan.lossAndGradient(BATCH + 2, penalty, random("another"));
        fill(plan, given);
        const measured = plan.lossAndGradient(BATCH, penalty, random("drop"));
        const close = (got: number, value: number, what: string) =>
          assert.ok(
            Math.abs(got - value) <= 1e-5 * (1 + Math.abs(value)),
            `${what} expected ${value}, got ${got}`,
          );
        close(measured.loss, expected.loss, "loss");
        assert.ok(plan.taps.length > 0);
        measured.activationNorms.forEach((norm, i) =>
          close(norm, expected!.norms[i], plan.taps[i]),
        );
        near(network, vectorAt(plan, plan.gradient), expected.gradient, "gradient with MAN");
        plan.lossAndGradient(BATCH, { ...penalty, zeta: 0 }, random("drop"));
        near(network, vectorAt(plan, plan.gradient), expected.plain, "gradient");
        plan.free();

        const forwardOnly = compile(network, BATCH + 1, kernels, heap, "predict");
        fill(forwardOnly, given);
        const logits = forwardOnly.forward(BATCH);
        differences.examples.forEach((x, b) => {
          const { outputs } = outputsOf(network.description, differences.weights(given.weights), x);
          outputs[outputs.length - 1].data.forEach((value, i) =>
            close(logits[b * 3 + i], value, `output ${i} of example ${b}`),
          );
        });
        forwardOnly.free();

        const curved = compile(network, BATCH + 1, kernels, heap, "curvature");
        fill(curved, given);
        const { learning } = network.shares;
        new Float32Array(heap.memory.buffer, curved.direction, learning.layout.size).set(
          takeShare(learning, expected.direction),
        );
        curved.hessianProduct(BATCH, penalty);
        near(
          network,
          vectorAt(curved, curved.product),
          differences.product(places, ZETA, expected.direction),
          "Hessian product",
        );
        curved.free();
      });

      if (network.layers.find((layer) => layer.type === type)!.places.length > 0)
        test(`${what}, ${build} build: frozen, it leaves the gradients of others as they are`, async () => {
          const { kernels, heap } = await openKernels(build);
          const measured = (one: Network, direction: Float32Array) => {
            const { layout } = one.shares.learning;
            const plan = compile(one, BATCH + 1, kernels, heap);
            fill(plan, given);
            const { loss } = plan.lossAndGradient(BATCH, penalty, random("drop"));
            const gradient = vectorAt(plan, plan.gradient);
            const weights = plan.weights();
            plan.free();
            const curved = compile(one, BATCH + 1, kernels, heap, "curvature");
            fill(curved, given);
            new Float32Array(heap.memory.buffer, curved.direction, layout.size).set(
              takeShare(one.shares.learning, direction),
            );
            curved.hessianProduct(BATCH, penalty);
            const product = vectorAt(curved, curved.product);
            curved.free();
            return { loss, gradient, product, weights };
          };
          const frozen = networkWith(type, one, { frozen: true });
          const direction = given.weights.map((_, i) => Math.sin(i * 1.7));
          putShare(
            frozen.shares.frozen,
            new Float32Array(frozen.shares.frozen.layout.size),
            direction,
          );
          const whole = measured(network, direction);
          const part = measured(frozen, direction);
          assert.equal(part.loss, whole.loss);
          assert.deepEqual(part.weights, given.weights);
          for (const key of ["gradient", "product"] as const) {
            const [got, expected] = [part[key], whole[key]].map((vector) =>
              takeShare(frozen.shares.learning, vector),
            );
            const error = relativeError(got, expected);
            assert.ok(error <= 1e-6, `${key} is off by ${error}`);
          }
        });

      test(`${what}, ${build} build: a step of every algorithm`, async () => {
        const { kernels, heap } = await openKernels(build);
        for (const { name, defaults, client } of BUILT_IN) {
          const { learning } = network.shares;
          const { layout } = learning;
          const { size } = layout;
          const theta = takeShare(learning, given.weights);
          const some = (seed: string) => {
            const chance = random(seed);
            return new Float64Array(size).map(() => 0.1 * chance.normal());
          };
          const named = (names: readonly string[]) =>
            Object.fromEntries(names.map((name) => [name, some(name)]));
          const objective = client.objective({
            global: some("global").map((value, i) => value + theta[i]) as never,
            state: named(client.state),
            received: named(client.receives) as never,
            settings: defaults,
            share: 1,
            learningRate: 0.1,
            initialLearningRate: 0.1,
            steps: 3,
          });
          const stepped = compile(network, BATCH + 1, kernels, heap);
          fill(stepped, given);
          const settings = { learningRate: 0.1, weightDecay: 0.01, clipNorm: 0.5, zeta: ZETA };
          const stepper = stepperOf(stepped, objective, { ...settings, manIncludesLogits: false });
          stepper.step(BATCH, random("drop"));
          const plan = compile(network, BATCH + 1, kernels, heap);
          fill(plan, given);
          const chance = random("drop");
          const gradientAt = (weights: ArrayLike<number>) => {
            plan.setMoving(Float32Array.from(weights));
            plan.lossAndGradient(BATCH, penalty, chance);
            return takeShare(learning, vectorAt(plan, plan.gradient));
          };
          const next = stepOf(layout, theta, objective, settings, gradientAt);
          near({ layout }, stepped.moving(), new Map(next.entries()), name);
          stepper.free();
          stepped.free();
          plan.free();
        }
      });
    }
  });

/** theta - eta (clip(g + p (theta - center) + v) + wd theta), g at theta or where SAM ascends to. */
function stepOf(
  layout: Layout,
  theta: Float32Array,
  { proximal, linear, ascent, weightDecay = 0 }: LocalObjective,
  settings: { learningRate: number; weightDecay: number; clipNorm: number },
  gradientAt: (weights: ArrayLike<number>) => Float32Array,
): number[] {
  const norm = (values: readonly number[]) =>
    Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  const clip = (length: number) => Math.min(1, settings.clipNorm / length);
  let gradient = [...gradientAt(theta)];
  if (ascent !== undefined) {
    const { kind, radius, eta = 0, clipped } = ascent;
    const scale = clipped ? clip(norm(gradient)) : 1;
    const by = new Array<number>(theta.length).fill(1);
    if (kind === "asam")
      for (const { name, offset, size } of layout.parameters)
        if (/[kK]ernel$/.test(name))
          for (let i = offset; i < offset + size; i++) by[i] = Math.abs(theta[i]) + eta;
    const length = norm(gradient.map((g, i) => by[i] * scale * g));
    gradient = [
      ...gradientAt(theta.map((w, i) => w + (radius * by[i] ** 2 * scale * gradient[i]) / length)),
    ];
  }
  const { coefficient = 0, center = theta } = proximal ?? {};
  const terms = gradient.map(
    (g, i) => g + coefficient * (theta[i] - center[i]) + (linear?.[i] ?? 0),
  );
  const scale = clip(norm(terms));
  const decay = settings.weightDecay + weightDecay;
  return terms.map(
    (term, i) => theta[i] - settings.learningRate * (scale * term + decay * theta[i]),
  );
}
