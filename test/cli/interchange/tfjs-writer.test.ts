import assert from "node:assert/strict";
import { after, test } from "node:test";
import "@tensorflow/tfjs-backend-cpu";
import * as tf from "@tensorflow/tfjs-core";
import * as layers from "@tensorflow/tfjs-layers";
import { readTfjs } from "../../../cli/interchange/keras-files.js";
import { writeTfjs } from "../../../cli/interchange/tfjs-writer.js";
import { parseDescription } from "../../../runtime/models/description.js";
import { initialModel } from "../../../runtime/models/initial.js";
import type { Model } from "../../../runtime/models/model.js";
import { nodePlatform } from "../../../runtime/platform/node.js";
import { elements } from "../../../runtime/tensors/shape.js";
import { weightedOf } from "../../../runtime/training/job.js";
import { trainerOf } from "../../../runtime/training/trainer.js";
import { assertNear, close, numbers, outputsOf } from "./running.js";
import { BATCHES, withRunningValues } from "./networks.js";

const trainer = trainerOf(nodePlatform({ relaxedSimd: false }).startWorker);
after(() => {
  close();
  trainer.close();
});

const ACTIVATIONS = [
  "relu",
  "relu6",
  "leakyRelu",
  "tanh",
  "sigmoid",
  "elu",
  "hardSigmoid5",
  "silu",
];

const NETWORKS: Readonly<Record<string, unknown>> = {
  activations: {
    input: [6],
    layers: [
      ...ACTIVATIONS.map((activation) => ({ type: "dense", units: 6, activation })),
      { type: "dense", units: 4 },
    ],
  },
  images: {
    input: [9, 8, 3],
    layers: [
      {
        type: "conv2d",
        filters: 4,
        kernelSize: [3, 2],
        padding: "same",
        activation: "relu",
        name: "stem",
      },
      {
        type: "depthwiseConv2d",
        kernelSize: 3,
        multiplier: 2,
        padding: [
          [1, 1],
          [0, 2],
        ],
      },
      { type: "conv2d", filters: 4, kernelSize: 1, name: "body" },
      { type: "add", inputs: ["body", "stem"], name: "sum" },
      { type: "concat", inputs: ["sum", "stem"] },
      { type: "maxPool", size: 2 },
      { type: "upsample", size: 2 },
      { type: "conv2dTranspose", filters: 3, kernelSize: 3, strides: 2, padding: "same" },
      { type: "avgPool", size: 2 },
      { type: "flatten" },
      { type: "dense", units: 3 },
    ],
  },
  "batches that were normalised": BATCHES,
  steps: {
    input: [7, 3],
    loss: { type: "meanSquaredError" },
    layers: [
      { type: "conv1d", filters: 4, kernelSize: 3, padding: "same", activation: "silu" },
      { type: "lstm", units: 3, returnSequences: true },
      { type: "layerNorm" },
      { type: "gru", units: 4, resetAfter: false, reverse: true },
      { type: "dense", units: 2 },
    ],
  },
};

for (const [name, json] of Object.entries(NETWORKS)) {
  const description = parseDescription(json);
  const regression = description.loss?.type === "meanSquaredError";
  const model: Model = {
    ...withRunningValues(initialModel({ description, classes: [] }, "1")),
    normalisation: { scale: 2, mean: [0.1], deviation: [0.5] },
    ...(regression && { targets: { mean: [3, 4], deviation: [2, 0.5] } }),
  };
  const x = numbers(2 * elements(description.input));
  const ours = async () => {
    const y = await trainer.predict({ ...weightedOf(model), inputs: x });
    return regression ? y.map((value, i) => (i % 2 ? 4 + 0.5 * value : 3 + 2 * value)) : y;
  };

  test(`${name}: TensorFlow.js loads what is written, to the same outputs`, async () => {
    const files = writeTfjs(model);
    const { modelTopology, weightsManifest } = JSON.parse(files["model.json"]) as {
      modelTopology: object;
      weightsManifest: { weights: [] }[];
    };
    const weightData = Uint8Array.from(files["weights.bin"]).buffer;
    const [{ weights: weightSpecs }] = weightsManifest;
    const loaded = await layers.loadLayersModel({
      load: () => Promise.resolve({ modelTopology, weightSpecs, weightData }),
    });
    const y = loaded.predict(tf.tensor(x, [2, ...description.input])) as tf.Tensor;
    assertNear(await y.data(), await ours());
  });

  test(`${name}: what is written is read to equal outputs`, async () => {
    const files = writeTfjs(model);
    const imported = await readTfjs(Buffer.from(files["model.json"]), {
      beside: () => Promise.resolve(files["weights.bin"]),
    });
    assert.equal(imported.description.loss?.type, description.loss?.type ?? "softmaxCrossEntropy");
    assertNear(await outputsOf(imported, x), await ours());
  });
}

test("a layer that TensorFlow.js does not have is named", () => {
  const description = parseDescription({
    input: [4],
    layers: [
      { type: "groupNorm", groups: 2 },
      { type: "dense", units: 2 },
    ],
  });
  assert.throws(() => writeTfjs(initialModel({ description, classes: ["a", "b"] }, "1")), {
    code: "import",
    message: '"layers[0].type" expected a layer that TensorFlow.js has, got groupNorm',
  });
});
