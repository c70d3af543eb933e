import assert from "node:assert/strict";
import { test } from "node:test";
import { memory } from "@tensorflow/tfjs-core";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { preset } from "../../runtime/models/presets.js";
import { random } from "../../runtime/tensors/random.js";
import { readKernelBinaries } from "../../runtime/platform/node-kernels.js";
import { engineOn } from "../../runtime/training/engine.js";
import { memoryNeeded } from "../../runtime/training/memory-plan.js";
import { compile } from "../../runtime/training/plan.js";
import { compileKernels, instantiateKernels } from "../../runtime/wasm/load.js";
import { ownHeap } from "../../runtime/wasm/own-heap.js";
import { tfjsHeap } from "../../runtime/wasm/tfjs-heap.js";
import { BUILDS, openKernels } from "./engines.js";

test("1,000 batches on tfjs's memory leave tensor count, WebAssembly memory and RSS as they were", async () => {
  const heap = await tfjsHeap();
  const kernels = await instantiateKernels(await compileKernels(readKernelBinaries()), heap.memory);
  const engine = engineOn(kernels, heap);
  const description = parseDescription({
    input: [32, 9],
    layers: [
      { type: "conv1d", filters: 16, kernelSize: 5 },
      { type: "groupNorm", groups: 4 },
      { type: "relu" },
      { type: "maxPool", size: 2 },
      { type: "flatten" },
      { type: "dropout", rate: 0.1 },
      { type: "dense", units: 6 },
    ],
  });
  const network = networkOf(description);
  const chance = random("endurance");
  const count = 100;
  const dataset = {
    shape: network.input,
    inputs: Float32Array.from({ length: count * 32 * 9 }, () => chance.normal()),
    labels: Int32Array.from({ length: count }, () => chance.integer(6)),
    classes: ["a", "b", "c", "d", "e", "f"],
  };
  const rows = Uint32Array.from({ length: count }, (_, i) => i);
  const seen: { tensors: number; wasm: number; rss: number }[] = [];
  const look = () =>
    seen.push({
      tensors: memory().numTensors,
      wasm: heap.memory.buffer.byteLength,
      rss: process.memoryUsage.rss(),
    });
  await engine.train(
    {
      description,
      weights: initialWeights(network, "seed"),
      objective: {
        proximal: { coefficient: 1e-3, center: initialWeights(network, "b") },
        ascent: { kind: "sam", radius: 0.01, clipped: true },
      },
      part: { dataset, rows },
      settings: {
        algorithm: "fedsam",
        algorithmSettings: {},
        localEpochs: 100,
        batchSize: 10,
        learningRate: 0.01,
        initialLearningRate: 0.01,
        weightDecay: 0,
        clipNorm: 10,
        zeta: 0.15,
        manIncludesLogits: false,
        shuffle: true,
        meanSamples: count,
        seed: "seed",
      },
    },
    {
      progress({ batch }) {
        if (batch % 200 === 0) look();
      },
      pause: () => new Promise(setImmediate),
    },
  );
  engine.free();
  assert.equal(seen.length, 5);
  for (const { tensors, wasm, rss } of seen) {
    assert.equal(tensors, seen[0].tensors);
    assert.equal(wasm, seen[0].wasm);
    assert.ok(rss < seen[0].rss + 16e6, `${rss} bytes after ${seen[0].rss}`);
  }
});

for (const build of BUILDS)
  test(`zeta 0 gives the very bits of training without MAN, ${build} build`, async () => {
    const { kernels, heap } = await openKernels(build);
    // Without MAN: the same kernels, but one that ignores the penalty's coefficient.
    const without = {
      ...kernels,
      reluBackprop: (...[a, dy, dz, size]: Parameters<typeof kernels.reluBackprop>) =>
        kernels.reluBackprop(a, dy, dz, size, 0),
      reluBackpropSumRows: (
        ...[a, dy, dz, bias, rows, columns]: Parameters<typeof kernels.reluBackpropSumRows>
      ) => kernels.reluBackpropSumRows(a, dy, dz, bias, rows, columns, 0),
      maxPoolReluBackprop: (
        ...[a, pooled, dy, argmax, bias, inSize, outSize, channels]: Parameters<
          typeof kernels.maxPoolReluBackprop
        >
      ) => kernels.maxPoolReluBackprop(a, pooled, dy, argmax, bias, inSize, outSize, channels, 0),
    };
    const network = networkOf(preset("fashion-small"));
    const gradients = [
      [kernels, 0],
      [without, 0.15],
      [kernels, 0.15],
    ].map(([using, zeta]) => {
      const plan = compile(network, 3, using as typeof kernels, heap);
      const chance = random("bits");
      plan.setWeights(initialWeights(network, "seed"));
      plan.inputs().forEach((_, i, all) => (all[i] = chance.normal()));
      plan.labels().forEach((_, i, all) => (all[i] = chance.integer(10)));
      plan.lossAndGradient(3, { zeta: zeta as number, includesLogits: false }, chance);
      const { size } = network.layout;
      return new Int32Array(heap.memory.buffer, plan.gradient, size).slice();
    });
    assert.deepEqual(gradients[0], gradients[1]);
    assert.notDeepEqual(gradients[0], gradients[2]);
  });

test("the memory a plan needs is known before it is taken", () => {
  for (const name of ["cifar", "sensor", "tiny-imagenet"])
    for (const purpose of ["predict", "train", "curvature"] as const) {
      const network = networkOf(preset(name));
      const heap = ownHeap(65536);
      let asked = 0;
      const watched = {
        ...heap,
        allocate: (bytes: number) => ((asked += bytes), heap.allocate(bytes)),
      };
      const bytes = memoryNeeded(network, 20, purpose);
      // No kernel runs while a plan is compiled.
      const plan = compile(network, 20, {} as never, watched, purpose);
      assert.equal(asked, bytes);
      assert.equal(plan.bytes, bytes);
    }
  const cifar = memoryNeeded(networkOf(preset("cifar")), 50);
  assert.ok(cifar < 45e6, `${cifar} bytes to train the CIFAR network`);
});
