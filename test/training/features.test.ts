import assert from "node:assert/strict";
import { test } from "node:test";
import type { Part } from "../../runtime/data/dataset.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import { engineOn, type Engine, type Hooks } from "../../runtime/training/engine.js";
import type { TrainJob } from "../../runtime/training/job.js";
import { borderOf } from "../../runtime/training/border.js";
import { BUILDS, openKernels } from "./engines.js";

// What frozen layers give is kept at their border (features.ts): the same bits with and without.

const frozen = { frozen: true } as const;
const body = [
  { type: "conv2d", filters: 5, kernelSize: 3, activation: "relu", ...frozen },
  { type: "batchNorm", ...frozen },
  { type: "maxPool", size: 2 },
  { type: "flatten" },
  { type: "dense", units: 12, activation: "tanh", ...frozen },
];
const head = [
  { type: "dropout", rate: 0.2 },
  { type: "dense", units: 6, activation: "relu" },
  { type: "dense", units: 3 },
];
const description = parseDescription({ input: [9, 9, 2], layers: [...body, ...head] });
const COUNT = 23;
const EXAMPLE = 9 * 9 * 2;

function noise(): Part {
  const chance = random("features");
  return {
    dataset: {
      shape: [9, 9, 2],
      inputs: Float32Array.from({ length: COUNT * EXAMPLE }, () => chance.normal()),
      labels: Int32Array.from({ length: COUNT }, () => chance.integer(3)),
      classes: ["a", "b", "c"],
    },
    rows: Uint32Array.from({ length: COUNT - 3 }, (_, i) => i),
  };
}

const ALL = 1e9;
/** Bytes for seven examples' features, of 12 floats. */
const SEVEN = 7 * (12 * 4 + 256);

const hooks: Hooks = { progress() {}, pause: async () => {} };

/** Training, training again, and an evaluation of what was held out, as one text of all bits. */
async function rounds(
  engine: Engine,
  part: Part,
  objective: TrainJob["objective"],
  keep: Pick<TrainJob, "base" | "spare">,
): Promise<string> {
  let weights = initialWeights(networkOf(description), "w");
  const { shared } = networkOf(description).shares;
  const results: unknown[] = [];
  for (const seed of ["1", "2"]) {
    const model = { description, normalisation: { scale: 1, mean: [0.1], deviation: [2] } };
    const settings = {
      ...{ algorithm: "fedavg", algorithmSettings: {}, localEpochs: 2, batchSize: 7, seed },
      ...{ learningRate: 0.1, initialLearningRate: 0.1, weightDecay: 1e-3, clipNorm: 10 },
      ...{ zeta: 0.1, manIncludesLogits: false, shuffle: true, meanSamples: COUNT },
    };
    const trained = await engine.train(
      { ...model, ...keep, weights, objective, part, settings },
      hooks,
    );
    weights = weights.slice();
    for (const [i, { offset, size }] of shared.places.entries())
      for (let j = 0; j < size; j++)
        weights[offset + j] += trained.delta[shared.layout.parameters[i].offset + j];
    const rows = Uint32Array.from([COUNT - 1, 3, COUNT - 2]);
    const { base } = keep;
    const evaluation = await engine.evaluate(
      { ...model, base, weights, part: { dataset: part.dataset, rows } },
      hooks,
    );
    const { seconds: _, ...metrics } = trained.metrics;
    results.push([...trained.delta], metrics, evaluation);
  }
  return JSON.stringify(results);
}

/** Counts how often an example's inputs are read. */
function counted(part: Part): { part: Part; reads: () => number } {
  let reads = 0;
  const inputs = new Proxy(part.dataset.inputs, {
    get(target, name) {
      if (name === "subarray") reads++;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { part: { ...part, dataset: { ...part.dataset, inputs } }, reads: () => reads };
}

for (const build of BUILDS)
  for (const [name, objective] of Object.entries({
    plain: {},
    "with SAM's second pass": { ascent: { kind: "sam", radius: 0.05, clipped: false } as const },
  }))
    test(`features that are kept, in part or all, give the bits of those that are computed: ${build} build, ${name}`, async () => {
      const of = async (keep: Pick<TrainJob, "base" | "spare">) => {
        const { kernels, heap } = await openKernels(build);
        const { part, reads } = counted(noise());
        const bits = await rounds(engineOn(kernels, heap), part, objective, keep);
        return { bits, reads: reads() };
      };
      const without = await of({ base: "b" });
      const some = await of({ base: "b", spare: SEVEN });
      const all = await of({ base: "b", spare: ALL });
      assert.equal(all.bits, without.bits);
      assert.equal(some.bits, without.bits);
      // Each of 20 examples, and the two held out that are not among them, once.
      assert.equal(all.reads, COUNT - 1);
      assert.ok(some.reads > all.reads && some.reads < without.reads);
      // A base without a name keeps nothing.
      assert.equal((await of({ spare: ALL })).reads, without.reads);
    });

test("another base, another network or other data have features of their own; an evaluation alone keeps none", async () => {
  const { kernels, heap } = await openKernels("simd");
  const engine = engineOn(kernels, heap);
  const { part, reads } = counted(noise());
  const readsOf = async (run: () => Promise<unknown>) => {
    const before = reads();
    await run();
    return reads() - before;
  };
  const weights = initialWeights(networkOf(description), "w");
  const evaluate = () => engine.evaluate({ description, weights, base: "b", part }, hooks);
  assert.equal(await readsOf(evaluate), 20);
  assert.equal(await readsOf(evaluate), 20);
  const train = (base: string) => () => rounds(engine, part, {}, { base, spare: ALL });
  assert.equal(await readsOf(train("b")), COUNT - 1);
  assert.equal(await readsOf(train("b")), 0);
  assert.equal(await readsOf(train("another")), COUNT - 1);
  // Not normalised.
  assert.equal(await readsOf(evaluate), 20);
});

test("the border stands behind all that neither learns nor is drawn, where that multiplies", () => {
  const border = (layers: readonly object[], more: object = {}) =>
    borderOf(networkOf(parseDescription({ input: [9, 9, 2], layers, ...more })));
  assert.equal(border([...body, ...head]), 5);
  assert.equal(
    border([...body.slice(0, 2), { type: "dropout", rate: 0.5 }, ...body.slice(2), ...head]),
    2,
  );
  assert.equal(border([{ type: "flatten" }, ...head]), 0);
  assert.equal(border([{ ...body[0], tap: true }, ...body.slice(1), ...head]), 0);
  // The head reads the input, too.
  const skip = [
    { type: "conv2d", filters: 2, kernelSize: 1, ...frozen, name: "a" },
    { type: "add", inputs: ["a", "input"] },
    { type: "globalAvgPool" },
    { type: "dense", units: 3 },
  ];
  assert.equal(border(skip), 3);
  assert.equal(
    border([
      skip[0],
      { type: "conv2d", filters: 2, kernelSize: 1, name: "b" },
      { type: "add", inputs: ["b", "input"] },
      ...skip.slice(2),
    ]),
    0,
  );
});
