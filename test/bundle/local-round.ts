import type { TrainJob } from "../../runtime/training/job.js";

/** A small round of training. It uses nothing from outside this function, so that its text can run in a page too. */
export function localRound(): TrainJob {
  const count = 24;
  const shape = [8, 8, 2];
  // Nothing whose last digit an engine may choose, as it may for a sine.
  const wave = (length: number, step: number) =>
    Float32Array.from({ length }, (_, i) => ((i * step) % 41) / 20.5 - 1);
  return {
    description: {
      input: shape,
      layers: [
        { type: "conv2d", filters: 4, kernelSize: [3, 3], padding: "same" },
        { type: "relu" },
        { type: "maxPool", size: [2, 2] },
        { type: "flatten" },
        { type: "dense", units: 8, activation: "relu" },
        { type: "dense", units: 3 },
      ],
    } as unknown as TrainJob["description"],
    weights: wave(623, 7).map((x) => 0.2 * x),
    normalisation: { scale: 1, mean: [0.5], deviation: [2] },
    objective: {},
    part: {
      dataset: {
        shape,
        inputs: wave(count * 128, 11),
        labels: Int32Array.from({ length: count }, (_, i) => i % 3),
        classes: ["a", "b", "c"],
      },
      rows: Uint32Array.from({ length: count }, (_, i) => i),
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
      meanSamples: count,
      seed: "a",
    },
  };
}
