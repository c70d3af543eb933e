import { fedavg } from "../runtime/algorithms/fedavg.js";
import type { Part } from "../runtime/data/dataset.js";
import { parseDescription, type ModelDescription } from "../runtime/models/description.js";
import { initialWeights } from "../runtime/models/initial.js";
import { networkOf } from "../runtime/models/network.js";
import { takeShare } from "../runtime/models/shares.js";
import { allowRelaxedSimd, readKernelBinaries } from "../runtime/platform/node-kernels.js";
import { random } from "../runtime/tensors/random.js";
import { elements } from "../runtime/tensors/shape.js";
import { engineOn } from "../runtime/training/engine.js";
import type { TrainJob } from "../runtime/training/job.js";
import { compile } from "../runtime/training/plan.js";
import { updateForm } from "../runtime/training/transmission.js";
import { compileKernels, instantiateKernels } from "../runtime/wasm/load.js";
import { ownHeap } from "../runtime/wasm/own-heap.js";
import { headOf, mobilenetV2 } from "../test/models/mobilenet-v2.js";
import { now, takeTurns, type Compare, type Contender } from "./comparison.js";

allowRelaxedSimd();

const EXAMPLES = 500;
const SIDE = 96;
const CLASSES = 5;
const MOST = 1.1;

async function open() {
  const heap = ownHeap(65536);
  const kernels = await instantiateKernels(
    await compileKernels(readKernelBinaries(), "relaxed"),
    heap.memory,
  );
  return { kernels, heap };
}

const rows = Uint32Array.from({ length: EXAMPLES }, (_, i) => i);

function partOf(shape: readonly number[], inputs: Float32Array): Part {
  const chance = random("bench", "labels");
  const labels = Int32Array.from({ length: EXAMPLES }, () => chance.integer(CLASSES));
  const classes = Array.from({ length: CLASSES }, (_, i) => `${i}`);
  return { dataset: { shape, inputs, labels, classes }, rows };
}

const settings = (localEpochs: number): TrainJob["settings"] => ({
  ...{ algorithm: "fedavg", algorithmSettings: {}, localEpochs, batchSize: 32, seed: "bench" },
  ...{ learningRate: 1e-3, initialLearningRate: 1e-3, weightDecay: 0, clipNorm: 10, zeta: 0 },
  ...{ manIncludesLogits: false, shuffle: true, meanSamples: EXAMPLES },
});

/** Epochs of one model, behind a first one of which the time is left out. */
async function epochs(
  name: string,
  description: ModelDescription,
  weights: Float32Array,
  part: Part,
) {
  const { kernels, heap } = await open();
  const engine = engineOn(kernels, heap);
  const train = async (count: number) => {
    let started = 0;
    let ended = 0;
    const { delta } = await engine.train(
      {
        description,
        weights,
        objective: {},
        part,
        settings: settings(1 + count),
        base: "b",
        spare: 2 ** 26,
      },
      {
        progress({ epoch, batch, batches }) {
          if (epoch === 0) started = now();
          if (batch === batches) ended = now();
        },
        pause: async () => {},
      },
    );
    return { delta, milliseconds: ended - started };
  };
  const contender: Contender = {
    name,
    burst: async (times) => (await train(times)).milliseconds,
  };
  return { ...contender, train };
}

/** What the frozen layers give of each example. */
async function featuresOf(
  description: ModelDescription,
  weights: Float32Array,
  inputs: Float32Array,
) {
  const { kernels, heap } = await open();
  const plan = compile(networkOf(description), 1, kernels, heap, "predict");
  plan.setWeights(weights);
  const size = elements(description.input);
  const features: number[] = [];
  for (const row of rows) {
    plan.inputs().set(inputs.subarray(row * size, (row + 1) * size));
    features.push(...plan.border!.compute());
  }
  return Float32Array.from(features);
}

/**
 * A MobileNetV2 whose backbone is frozen: an epoch behind the first pass, and an update, against
 * those of its head alone on the features as data.
 */
export const compare: Compare = async (report) => {
  const whole = mobilenetV2(SIDE, CLASSES);
  const network = networkOf(whole);
  const weights = initialWeights(network, "bench");
  const chance = random("bench", "transfer");
  const inputs = Float32Array.from({ length: EXAMPLES * elements(whole.input) }, chance.normal);
  const features = await featuresOf(whole, weights, inputs);
  const width = features.length / EXAMPLES;
  const head = parseDescription({ input: [width], layers: headOf(CLASSES) });
  const headWeights = takeShare(network.shares.shared, weights);

  const full = await epochs("MobileNetV2", whole, weights, partOf(whole.input, inputs));
  const alone = await epochs("its head alone", head, headWeights, partOf([width], features));
  const [a, b] = [await full.train(1), await alone.train(1)];
  if (a.delta.some((value, i) => value !== b.delta[i]) || a.delta.length !== b.delta.length)
    throw new Error("the head behind kept features is trained to other weights than alone");

  const times = await takeTurns([full, alone]);
  const [value, baselineValue] = [times[full.name], times[alone.name]];
  report({
    name: `an epoch over ${EXAMPLES} kept examples of a MobileNetV2 of ${whole.layers.length} layers`,
    ...{ value, unit: "ms", baseline: alone.name, baselineValue, ratio: baselineValue / value },
    ...{ target: `at most ${MOST} x`, met: value <= MOST * baselineValue },
  });
  const bytesOf = (description: ModelDescription) =>
    updateForm(
      fedavg.client,
      { codec: "float32", codecSettings: {} },
      networkOf(description).shares.shared.layout,
    ).bytes;
  const [sent, least] = [bytesOf(whole), bytesOf(head)];
  report({
    name: "its update",
    ...{
      value: sent,
      unit: "bytes",
      baseline: alone.name,
      baselineValue: least,
      ratio: least / sent,
    },
    ...{ target: "those of the head", met: sent - least < 256 },
  });
};
