import type { LAYER_KINDS } from "../../runtime/models/description.js";

/** An input for a layer, and the fields of its description beside `type`. */
export interface LayerCase {
  readonly input: readonly number[];
  readonly fields: object;
  /** Of a layer with several inputs: the second is one of [channels]. */
  readonly gate?: boolean;
}

/**
 * Every kind of layer: first a description with no optional field, then others whose way through
 * the kernels differs. The tests of every layer go through them, and through each `activation` that
 * stands here.
 */
export const LAYER_CASES: Readonly<
  Record<keyof typeof LAYER_KINDS, readonly [LayerCase, ...LayerCase[]]>
> = {
  dense: [
    { input: [12], fields: { units: 3 } },
    { input: [5, 6], fields: { units: 7, activation: "gelu" } },
    { input: [5, 6], fields: { units: 7, activation: "relu", lora: { rank: 2, alpha: 3 } } },
  ],
  conv1d: [
    { input: [12, 4], fields: { filters: 3, kernelSize: 3 } },
    {
      input: [11, 3],
      fields: {
        filters: 5,
        kernelSize: 4,
        strides: 2,
        padding: [
          [0, 0],
          [2, 1],
        ],
        activation: "tanh",
      },
    },
  ],
  conv2d: [
    { input: [6, 6, 4], fields: { filters: 3, kernelSize: 3 } },
    {
      input: [7, 6, 3],
      fields: { filters: 5, kernelSize: [3, 2], strides: [2, 1], padding: "same" },
    },
    {
      input: [6, 6, 3],
      fields: { filters: 4, kernelSize: 3, padding: "same", activation: "relu" },
    },
    { input: [5, 5, 3], fields: { filters: 5, kernelSize: 1, activation: "silu" } },
  ],
  depthwiseConv2d: [
    { input: [6, 6, 4], fields: { kernelSize: 3 } },
    {
      input: [7, 6, 3],
      fields: {
        kernelSize: 3,
        multiplier: 2,
        strides: 2,
        padding: "same",
        activation: "hardSwish",
      },
    },
  ],
  maxPool: [
    { input: [6, 6, 4], fields: { size: 2 } },
    { input: [9, 3], fields: { size: 3, strides: 2, padding: "same" } },
  ],
  avgPool: [
    { input: [6, 6, 4], fields: { size: 2 } },
    { input: [7, 6, 3], fields: { size: [3, 2], strides: 2, padding: "same" } },
  ],
  globalAvgPool: [
    { input: [6, 6, 4], fields: {} },
    { input: [7, 3], fields: {} },
  ],
  flatten: [{ input: [6, 6, 4], fields: {} }],
  groupNorm: [
    { input: [6, 6, 4], fields: { groups: 2 } },
    { input: [7, 6], fields: { groups: 3, epsilon: 0.01, activation: "elu" } },
  ],
  relu: [{ input: [6, 6, 4], fields: {} }],
  dropout: [{ input: [6, 6, 4], fields: { rate: 0.5 } }],
  activation: [
    { input: [6, 6, 4], fields: { activation: "tanh" } },
    ...(
      [
        "relu6",
        "leakyRelu",
        "sigmoid",
        "elu",
        "hardSigmoid",
        "hardSigmoid5",
        "hardSwish",
        "silu",
        "gelu",
      ] as const
    ).map((activation) => ({ input: [5, 6], fields: { activation } })),
  ],
  conv1dTranspose: [
    { input: [12, 4], fields: { filters: 3, kernelSize: 3 } },
    {
      input: [5, 3],
      fields: { filters: 5, kernelSize: 4, strides: 2, padding: "same", activation: "tanh" },
    },
  ],
  conv2dTranspose: [
    { input: [6, 6, 4], fields: { filters: 3, kernelSize: 3 } },
    { input: [4, 3, 3], fields: { filters: 5, kernelSize: [3, 2], strides: 2, padding: "same" } },
  ],
  add: [
    { input: [12, 4], fields: {} },
    { input: [4, 3, 5], fields: { activation: "relu" } },
  ],
  multiply: [
    { input: [12, 4], fields: {} },
    { input: [4, 3, 5], fields: { activation: "silu" }, gate: true },
  ],
  concat: [
    { input: [12, 4], fields: {} },
    { input: [4, 3, 5], fields: {} },
  ],
  upsample: [
    { input: [6, 6, 4], fields: { size: 2 } },
    { input: [5, 3], fields: { size: 3 } },
  ],
  repeat: [{ input: [12], fields: { times: 3 } }],
  reshape: [{ input: [12, 4], fields: { shape: [6, 8] } }],
  globalMaxPool: [
    { input: [6, 6, 4], fields: {} },
    { input: [7, 3], fields: {} },
  ],
  embedding: [{ input: [12], fields: { vocabulary: 5, units: 3 } }],
  positionEmbedding: [{ input: [12, 4], fields: {} }],
  layerNorm: [
    { input: [12, 4], fields: {} },
    { input: [4, 3, 6], fields: { epsilon: 0.001, activation: "relu6" } },
  ],
  batchNorm: [
    { input: [12, 4], fields: {} },
    { input: [4, 3, 6], fields: { epsilon: 0.01, activation: "silu" } },
    { input: [7], fields: { activation: "relu" } },
  ],
  gru: [
    { input: [12, 4], fields: { units: 3 } },
    {
      input: [5, 3],
      fields: { units: 6, resetAfter: false, reverse: true, returnSequences: true },
    },
    {
      input: [5, 3],
      fields: { units: 5, activation: "elu", recurrentActivation: "hardSigmoid5", reverse: true },
    },
  ],
  lstm: [
    { input: [12, 4], fields: { units: 3 } },
    { input: [5, 3], fields: { units: 6, reverse: true, returnSequences: true } },
    { input: [5, 3], fields: { units: 5, activation: "relu", recurrentActivation: "hardSigmoid" } },
  ],
  multiHeadAttention: [
    { input: [12, 4], fields: { heads: 2 } },
    { input: [6, 5], fields: { heads: 3, keySize: 2, causal: true } },
  ],
};
