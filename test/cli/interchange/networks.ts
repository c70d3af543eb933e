import type { Model } from "../../../runtime/models/model.js";
import { parameterView } from "../../../runtime/tensors/layout.js";

const image = [9, 8, 3];
const steps = [7, 4];
const pads = [
  [1, 1],
  [0, 2],
];

/** What stands behind a layer, so that the network ends in numbers. */
const head = { type: "dense", units: 3 };
const seen = { type: "dense", units: 4, name: "seen" };
const picture = { type: "conv2d", filters: 4, kernelSize: 1, name: "seen" };

/** Both places that batchNorm may stand in: behind a picture, and behind a row of numbers. */
export const BATCHES = {
  input: [6, 5, 3],
  layers: [
    { type: "maxPool", size: 2 },
    { type: "batchNorm", epsilon: 0.01, momentum: 0.8, activation: "relu" },
    { type: "flatten" },
    { type: "batchNorm" },
    { type: "dense", units: 3 },
  ],
};

/**
 * A model as if it had been trained, where running values are concerned: no two of a layer's alike,
 * so that taking one for the other shows.
 */
export function withRunningValues<M extends Pick<Model, "layout" | "weights">>(model: M): M {
  const weights = model.weights.slice();
  for (const place of model.layout.parameters)
    if (/\.(mean|variance)$/.test(place.name)) {
      const from = place.name.endsWith(".mean") ? -0.4 : 0.5;
      parameterView(weights, place).forEach((_, i, all) => (all[i] = from + 0.07 * (i % 11)));
    }
  return { ...model, weights };
}

/** For each type of layer a small network that has it in more than its plainest form. */
export const BY_LAYER: Readonly<Record<string, unknown>> = {
  dense: { input: [6], layers: [{ type: "dense", units: 6, activation: "tanh" }, head] },
  conv1d: {
    input: steps,
    layers: [
      { type: "conv1d", filters: 4, kernelSize: 3, padding: "same", strides: 2 },
      { type: "conv1d", filters: 4, kernelSize: 2 },
      { type: "flatten" },
      head,
    ],
  },
  conv2d: {
    input: image,
    layers: [
      { type: "conv2d", filters: 4, kernelSize: [3, 2], strides: [2, 1], padding: "same" },
      { type: "conv2d", filters: 5, kernelSize: 3, padding: pads, activation: "relu" },
      { type: "flatten" },
      { type: "dropout", rate: 0.5 },
      { type: "dense", units: 6, activation: "relu" },
      head,
    ],
  },
  depthwiseConv2d: {
    input: image,
    layers: [
      { type: "depthwiseConv2d", kernelSize: 3, multiplier: 2, strides: 2, padding: "same" },
      { type: "depthwiseConv2d", kernelSize: [2, 3], padding: pads },
      { type: "globalAvgPool" },
      head,
    ],
  },
  maxPool: {
    input: image,
    layers: [
      { type: "maxPool", size: [3, 2], strides: 1, padding: "same" },
      { type: "maxPool", size: 2 },
      { type: "flatten" },
      head,
    ],
  },
  avgPool: {
    input: image,
    layers: [
      { type: "avgPool", size: 3, strides: 2, padding: "same" },
      { type: "avgPool", size: 2 },
      { type: "flatten" },
      head,
    ],
  },
  globalAvgPool: { input: steps, layers: [{ type: "globalAvgPool" }, head] },
  globalMaxPool: { input: image, layers: [{ type: "globalMaxPool" }, head] },
  flatten: { input: steps, layers: [{ type: "flatten" }, head] },
  groupNorm: {
    input: image,
    layers: [
      picture,
      { type: "groupNorm", groups: 2, epsilon: 0.01, activation: "relu" },
      { type: "flatten" },
      head,
    ],
  },
  layerNorm: { input: steps, layers: [{ type: "layerNorm" }, { type: "globalAvgPool" }, head] },
  relu: {
    input: [6],
    layers: [{ type: "dense", units: 4, name: "seen" }, { type: "relu" }, head],
  },
  activation: {
    input: steps,
    layers: [{ type: "activation", activation: "sigmoid" }, { type: "flatten" }, head],
  },
  dropout: { input: [6], layers: [seen, { type: "dropout", rate: 0.2 }, head] },
  conv1dTranspose: {
    input: steps,
    layers: [
      { type: "conv1dTranspose", filters: 4, kernelSize: 3, strides: 2, padding: "same" },
      { type: "conv1dTranspose", filters: 4, kernelSize: 3 },
      { type: "globalAvgPool" },
      head,
    ],
  },
  conv2dTranspose: {
    input: image,
    layers: [
      { type: "conv2dTranspose", filters: 4, kernelSize: 3, strides: 2, padding: "same" },
      { type: "conv2dTranspose", filters: 2, kernelSize: [3, 2] },
      { type: "flatten" },
      head,
    ],
  },
  add: {
    input: image,
    layers: [
      picture,
      { type: "conv2d", filters: 4, kernelSize: 3, padding: "same", name: "body" },
      { type: "add", inputs: ["body", "seen"], activation: "relu" },
      { type: "flatten" },
      head,
    ],
  },
  multiply: {
    input: image,
    layers: [
      picture,
      { type: "globalAvgPool" },
      { type: "dense", units: 4, activation: "sigmoid", name: "gate" },
      { type: "multiply", inputs: ["seen", "gate"] },
      { type: "flatten" },
      head,
    ],
  },
  concat: {
    input: image,
    layers: [
      picture,
      { type: "conv2d", filters: 3, kernelSize: 3, padding: "same", name: "body" },
      { type: "concat", inputs: ["body", "seen"] },
      { type: "globalAvgPool" },
      head,
    ],
  },
  upsample: {
    input: image,
    layers: [{ type: "upsample", size: [2, 3] }, { type: "flatten" }, head],
  },
  repeat: { input: [6], layers: [seen, { type: "repeat", times: 5 }, { type: "flatten" }, head] },
  reshape: {
    input: [12],
    layers: [
      { type: "reshape", shape: [2, 3, 2] },
      { type: "conv2d", filters: 3, kernelSize: 2 },
      { type: "flatten" },
      head,
    ],
  },
  embedding: {
    input: [5],
    layers: [{ type: "embedding", vocabulary: 9, units: 4 }, { type: "globalAvgPool" }, head],
  },
  positionEmbedding: {
    input: steps,
    layers: [{ type: "positionEmbedding" }, { type: "globalAvgPool" }, head],
  },
  gru: {
    input: steps,
    layers: [
      { type: "gru", units: 3, returnSequences: true },
      { type: "gru", units: 4, reverse: true },
      head,
    ],
  },
  lstm: {
    input: steps,
    layers: [
      { type: "lstm", units: 3, returnSequences: true },
      { type: "lstm", units: 4, reverse: true },
      head,
    ],
  },
  multiHeadAttention: {
    input: steps,
    layers: [
      seen,
      { type: "multiHeadAttention", heads: 2, causal: true },
      { type: "globalAvgPool" },
      head,
    ],
  },
};

const ACTIVATIONS = [
  ...["relu", "relu6", "leakyRelu", "tanh", "sigmoid", "elu", "hardSigmoid", "hardSigmoid5"],
  ...["hardSwish", "silu", "gelu"],
];

/** Each activation, and what a format may say otherwise. */
export const BY_FORM: Readonly<Record<string, unknown>> = {
  ...Object.fromEntries(
    ACTIVATIONS.map((activation) => [
      activation,
      { input: [6], layers: [{ type: "dense", units: 6, activation }, head] },
    ]),
  ),
  "reset before": {
    input: steps,
    layers: [{ type: "gru", units: 4, resetAfter: false }, head],
  },
  "backwards, all steps": {
    input: steps,
    layers: [
      { type: "lstm", units: 4, reverse: true, returnSequences: true },
      { type: "globalAvgPool" },
      head,
    ],
  },
  "relu inside": { input: steps, layers: [{ type: "lstm", units: 4, activation: "relu" }, head] },
  "zeros around a sequence": {
    input: steps,
    layers: [
      {
        type: "conv1d",
        filters: 4,
        kernelSize: 3,
        padding: [
          [0, 0],
          [2, 0],
        ],
      },
      { type: "flatten" },
      head,
    ],
  },
  "a longer sequence": {
    input: steps,
    layers: [{ type: "upsample", size: 2 }, { type: "flatten" }, head],
  },
  "narrow heads": {
    input: steps,
    layers: [{ type: "multiHeadAttention", heads: 2, keySize: 3 }, { type: "globalAvgPool" }, head],
  },
  "a label at each step": {
    input: steps,
    loss: { type: "softmaxCrossEntropy" },
    layers: [{ type: "conv1d", filters: 4, kernelSize: 3, padding: "same" }, head],
  },
  "a square of numbers": {
    input: [6],
    loss: { type: "meanSquaredError" },
    layers: [{ type: "dense", units: 6, activation: "silu" }, head],
  },
  labels: {
    input: [6],
    loss: { type: "sigmoidCrossEntropy" },
    layers: [{ type: "dense", units: 6, activation: "relu6" }, head],
  },
};
