import { parseDescription } from "../../runtime/models/description.js";
import type { Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { random } from "../../runtime/tensors/random.js";
import type { TrainJob } from "../../runtime/training/job.js";

/** A small convolutional network. */
export function smallModel(): Model {
  const description = parseDescription({
    input: [8, 8, 2],
    layers: [
      { type: "conv2d", filters: 4, kernelSize: 3, padding: "same" },
      { type: "relu" },
      { type: "maxPool", size: 2 },
      { type: "flatten" },
      { type: "dense", units: 8, activation: "relu" },
      { type: "dense", units: 3 },
    ],
  });
  const network = networkOf(description);
  return {
    description,
    layout: network.layout,
    weights: initialWeights(network, "bundle"),
    normalisation: { scale: 1, mean: [0.5], deviation: [2] },
    classes: ["a", "b", "c"],
  };
}

/** Examples for it, whose class shifts their numbers. */
export function examples(count: number, seed: number): { x: Float32Array; y: number[] } {
  const chance = random("examples", seed);
  const y = Array.from({ length: count }, (_, i) => i % 3);
  const x = Float32Array.from(
    { length: count * 128 },
    (_, i) => chance.normal() + y[Math.floor(i / 128)],
  );
  return { x, y };
}

/** One round of training on 24 examples. */
export function localRound(): TrainJob {
  const { description, weights, normalisation, classes } = smallModel();
  const { x, y } = examples(24, 1);
  return {
    description,
    weights,
    normalisation,
    objective: {},
    part: {
      dataset: {
        shape: description.input,
        inputs: x,
        labels: Int32Array.from(y),
        classes,
      },
      rows: Uint32Array.from(y, (_, row) => row),
    },
    settings: {
      algorithm: "fedavg",
      algorithmSettings: {},
      localEpochs: 3,
      batchSize: 7,
      learningRate: 0.1,
      initialLearningRate: 0.1,
      weightDecay: 1e-3,
      clipNorm: 10,
      zeta: 0.15,
      manIncludesLogits: false,
      shuffle: true,
      meanSamples: 24,
      seed: "a",
    },
  };
}
