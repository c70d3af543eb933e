import assert from "node:assert/strict";
import { after, test } from "node:test";
import * as ort from "onnxruntime-web";
import { readOnnx } from "../../../cli/interchange/onnx.js";
import { writeOnnx } from "../../../cli/interchange/onnx-writer.js";
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
  ...["relu", "relu6", "leakyRelu", "tanh", "sigmoid", "elu", "hardSigmoid", "hardSigmoid5"],
  ...["hardSwish", "silu", "gelu"],
];

const NETWORKS: Readonly<Record<string, unknown>> = {
  "every activation": {
    input: [6],
    layers: [
      ...ACTIVATIONS.map((activation) => ({ type: "dense", units: 6, activation })),
      { type: "dense", units: 4 },
    ],
  },
  "images and a residual": {
    input: [9, 8, 3],
    layers: [
      { type: "conv2d", filters: 4, kernelSize: [3, 2], padding: "same", strides: [2, 1] },
      { type: "groupNorm", groups: 2, activation: "relu", name: "stem" },
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
      { type: "add", inputs: ["body", "stem"], activation: "gelu", name: "sum" },
      { type: "concat", inputs: ["sum", "stem"], name: "both" },
      { type: "globalAvgPool", inputs: ["both"] },
      { type: "dense", units: 8, activation: "sigmoid", name: "gate" },
      { type: "multiply", inputs: ["both", "gate"] },
      { type: "maxPool", size: 2 },
      { type: "upsample", size: 2 },
      { type: "avgPool", size: 2, padding: "same" },
      { type: "conv2dTranspose", filters: 3, kernelSize: 3, strides: 2, padding: "same" },
      { type: "flatten" },
      { type: "dense", units: 3 },
    ],
  },
  "batches that were normalised": BATCHES,
  "steps in both directions": {
    input: [7, 3],
    loss: { type: "sigmoidCrossEntropy" },
    layers: [
      {
        type: "conv1d",
        filters: 4,
        kernelSize: 3,
        padding: "same",
        activation: "silu",
        name: "seen",
      },
      { type: "gru", units: 3, returnSequences: true, name: "forwards" },
      {
        type: "lstm",
        units: 3,
        returnSequences: true,
        reverse: true,
        inputs: ["seen"],
        name: "backwards",
      },
      { type: "concat", inputs: ["forwards", "backwards"] },
      { type: "layerNorm" },
      { type: "positionEmbedding" },
      { type: "dense", units: 5, activation: "tanh" },
      { type: "gru", units: 4, resetAfter: false },
      { type: "groupNorm", groups: 2 },
      { type: "dense", units: 2 },
    ],
  },
  "steps in a row": {
    input: [7, 3],
    layers: [{ type: "flatten" }, { type: "dense", units: 4 }],
  },
  tokens: {
    input: [5],
    loss: { type: "meanSquaredError" },
    layers: [
      { type: "embedding", vocabulary: 9, units: 4 },
      { type: "lstm", units: 3 },
      { type: "dense", units: 1 },
    ],
  },
};

for (const [name, json] of Object.entries(NETWORKS)) {
  const description = parseDescription(json);
  const tokens = name === "tokens";
  const model: Model = {
    ...withRunningValues(initialModel({ description, classes: [] }, "1")),
    ...(!tokens && { normalisation: { scale: 2, mean: [0.1], deviation: [0.5] } }),
    ...(tokens && { targets: { mean: [3], deviation: [2] } }),
  };
  const size = elements(description.input);
  const x = numbers(2 * size).map((value, i) => (tokens ? i % 9 : value));
  const ours = async () => {
    const y = await trainer.predict({ ...weightedOf(model), inputs: x });
    return tokens ? y.map((value) => 3 + 2 * value) : y;
  };

  test(`${name}: what is written gives ONNX Runtime the same outputs`, async () => {
    ort.env.wasm.numThreads = 1;
    const session = await ort.InferenceSession.create(writeOnnx(model));
    const [output] = session.outputNames;
    const given = await session.run({
      input: new ort.Tensor("float32", x, [2, ...description.input]),
    });
    assertNear(given[output].data as Float32Array, await ours());
  });

  test(`${name}: what is written is read to equal outputs`, async () => {
    const imported = readOnnx(writeOnnx(model));
    assert.deepEqual(imported.description.input, description.input);
    assert.equal(imported.description.loss?.type, description.loss?.type ?? "softmaxCrossEntropy");
    assertNear(await outputsOf(imported, x), await ours());
  });
}
