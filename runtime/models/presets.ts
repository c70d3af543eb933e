import { ModelError } from "../errors.js";
import { elements } from "../tensors/shape.js";
import type { LayerDescription, ModelDescription } from "./description.js";

const normalisedBlock: readonly LayerDescription[] = [
  { type: "conv2d", filters: 64, kernelSize: 3, padding: "same" },
  { type: "groupNorm", groups: 4 },
  { type: "relu" },
  { type: "maxPool", size: 2 },
];

const convolution = (filters: number): readonly LayerDescription[] => [
  { type: "conv2d", filters, kernelSize: 5, activation: "relu" },
  { type: "maxPool", size: 2 },
];

const head = (...units: readonly number[]): readonly LayerDescription[] => [
  { type: "flatten" },
  ...units.map((units, i, all): LayerDescription =>
    i < all.length - 1 ? { type: "dense", units, activation: "relu" } : { type: "dense", units },
  ),
];

/** A convolution of 3x3 and its group norm. */
const normalised = (
  filters: number,
  convolution: Partial<Extract<LayerDescription, { type: "conv2d" }>> = {},
  name?: string,
): readonly LayerDescription[] => [
  { type: "conv2d", filters, kernelSize: 3, padding: "same", ...convolution },
  { type: "groupNorm", groups: 4, ...(name !== undefined && { name }) },
];

/**
 * The residual network for small images (He et al. 2016, arXiv:1512.03385) with so many blocks of 16,
 * 32 and 64 filters each; where a block halves the image, a convolution of 1x1 does so beside it.
 */
function residual(blocks: number, classes: number): ModelDescription {
  const layers: LayerDescription[] = [...normalised(16), { type: "relu", name: "stem" }];
  let before = "stem";
  for (const [stage, filters] of [16, 32, 64].entries())
    for (let block = 1; block <= blocks; block++) {
      const name = (what: string) => `${what}_${filters}_${block}`;
      const strides = stage > 0 && block === 1 ? 2 : 1;
      const from = { inputs: [before], strides };
      layers.push(
        ...normalised(filters, from),
        { type: "relu" },
        ...normalised(filters, {}, name("body")),
      );
      if (strides > 1)
        layers.push(...normalised(filters, { ...from, kernelSize: 1 }, name("shortcut")));
      layers.push({
        type: "add",
        inputs: [name("body"), strides > 1 ? name("shortcut") : before],
        activation: "relu",
        name: name("block"),
      });
      before = name("block");
    }
  layers.push({ type: "globalAvgPool" }, { type: "dense", units: classes });
  return { input: [32, 32, 3], layers };
}

/** Each channel by itself, then all together: 3x3 and 1x1. */
const separable = (filters: number, strides = 1): readonly LayerDescription[] => [
  { type: "depthwiseConv2d", kernelSize: 3, strides, padding: "same", activation: "relu" },
  { type: "conv2d", filters, kernelSize: 1, activation: "relu" },
];

/** LEAF's network for letters of 28x28. */
const letters = (units: number, classes: number): ModelDescription => ({
  input: [28, 28, 1],
  layers: [
    ...[32, 64].flatMap((filters): readonly LayerDescription[] => [
      { type: "conv2d", filters, kernelSize: 5, padding: "same", activation: "relu" },
      { type: "maxPool", size: 2 },
    ]),
    ...head(units, classes),
  ],
});

interface Preset {
  /** Of a forecast how many numbers it gives. */
  readonly classes: number;
  /** The shape of one example, where it takes others too. */
  readonly input?: readonly number[];
  describe(classes: number, input: readonly number[]): ModelDescription;
}

/** The networks that come with the package; each takes the number of classes. */
const PRESETS: Readonly<Record<string, Preset>> = {
  /** The MAN paper's CIFAR network (arXiv:2512.08314): 815,332 parameters at 100 classes. */
  cifar: {
    classes: 100,
    describe: (classes) => ({
      input: [32, 32, 3],
      layers: [...convolution(64), ...convolution(64), ...head(384, 192, classes)],
    }),
  },
  /** The MAN paper's Tiny-ImageNet network: 2,447,688 parameters at 200 classes. */
  "tiny-imagenet": {
    classes: 200,
    describe: (classes) => ({
      input: [64, 64, 3],
      layers: [
        ...normalisedBlock,
        ...normalisedBlock,
        ...normalisedBlock,
        ...head(512, 384, classes),
      ],
    }),
  },
  /** Windows of 128 samples of 9 motion sensors (UCI HAR). */
  sensor: {
    classes: 6,
    describe: (classes) => ({
      input: [128, 9],
      layers: [
        { type: "conv1d", filters: 64, kernelSize: 5, activation: "relu" },
        { type: "maxPool", size: 2 },
        { type: "conv1d", filters: 64, kernelSize: 5, activation: "relu" },
        { type: "maxPool", size: 2 },
        ...head(100, classes),
      ],
    }),
  },
  /** For the part of Fashion-MNIST that comes with the package. */
  "fashion-small": {
    classes: 10,
    describe: (classes) => ({
      input: [28, 28, 1],
      layers: [...convolution(16), ...convolution(32), ...head(128, classes)],
    }),
  },
  /** For tables of numbers, as wide as they are. */
  perceptron: {
    classes: 2,
    input: [1],
    describe: (classes, input) => ({
      input,
      // Rows are flat as they are.
      layers: head(64, classes).slice(input.length > 1 ? 0 : 1),
    }),
  },
  /** MLPerf Tiny's image classification, with group norms: 78,378 parameters at 10 classes. */
  "resnet-8": { classes: 10, describe: (classes) => residual(1, classes) },
  /** The smallest residual network of the paper: 273,258 parameters at 10 classes. */
  "resnet-20": { classes: 10, describe: (classes) => residual(3, classes) },
  /** Keywords (Zhang et al. 2017, arXiv:1711.07128) from 49 steps of 10 speech features: 22,604 at 12 classes. */
  "ds-cnn": {
    classes: 12,
    describe: (classes) => ({
      input: [49, 10, 1],
      layers: [
        {
          type: "conv2d",
          filters: 64,
          kernelSize: [10, 4],
          strides: 2,
          padding: "same",
          activation: "relu",
        },
        ...[1, 2, 3, 4].flatMap(() => separable(64)),
        { type: "globalAvgPool" },
        { type: "dense", units: classes },
      ],
    }),
  },
  /** MobileNetV1 of width 0.25 (Howard et al. 2017, arXiv:1704.04861) for images of 96x96. */
  mobilenet: {
    classes: 2,
    describe: (classes) => ({
      input: [96, 96, 3],
      layers: [
        {
          type: "conv2d",
          filters: 8,
          kernelSize: 3,
          strides: 2,
          padding: "same",
          activation: "relu",
        },
        ...separable(16),
        ...separable(32, 2),
        ...separable(32),
        ...separable(64, 2),
        ...separable(64),
        ...separable(128, 2),
        ...[1, 2, 3, 4, 5].flatMap(() => separable(128)),
        ...separable(256, 2),
        ...separable(256),
        { type: "globalAvgPool" },
        { type: "dense", units: classes },
      ],
    }),
  },
  /** Anomalies in rows or windows of numbers, by the error of their reconstruction: 265,864 parameters at 640. */
  autoencoder: {
    classes: 1,
    input: [640],
    describe: (_classes, input) => ({
      input,
      loss: { type: "meanSquaredError", target: "input" },
      layers: [
        ...(input.length > 1 ? [{ type: "flatten" } as const] : []),
        ...[128, 128, 128, 128, 8, 128, 128, 128, 128].map((units): LayerDescription => ({
          type: "dense",
          units,
          activation: "relu",
        })),
        { type: "dense", units: elements(input) },
      ],
    }),
  },
  /** What comes behind a window of measurements: 5,409 parameters for one number from 9 channels. */
  forecast: {
    classes: 1,
    input: [64, 9],
    describe: (classes, input) => ({
      input,
      loss: { type: "meanSquaredError" },
      layers: [
        { type: "lstm", units: 32 },
        { type: "dense", units: classes },
      ],
    }),
  },
  /** LEAF's next character behind 80 (Caldas et al. 2018, arXiv:1812.01097): 817,872 at 80 characters. */
  shakespeare: {
    classes: 80,
    describe: (classes) => ({
      input: [80],
      layers: [
        { type: "embedding", vocabulary: classes, units: 8 },
        { type: "lstm", units: 256, returnSequences: true },
        { type: "lstm", units: 256 },
        { type: "dense", units: classes },
      ],
    }),
  },
  /** LEAF's mood of a message of 25 words, each given as a vector of 300 numbers (GloVe). */
  sent140: {
    classes: 2,
    describe: (classes) => ({
      input: [25, 300],
      layers: [
        { type: "lstm", units: 100, returnSequences: true },
        { type: "lstm", units: 100 },
        { type: "dense", units: classes },
      ],
    }),
  },
  /** The next character at each place of 64, by one block of a transformer: 64,528 at 80 characters. */
  characters: {
    classes: 80,
    describe: (classes) => ({
      input: [64],
      loss: { type: "softmaxCrossEntropy" },
      layers: [
        { type: "embedding", vocabulary: classes, units: 64 },
        { type: "positionEmbedding", name: "x" },
        { type: "layerNorm" },
        { type: "multiHeadAttention", heads: 4, causal: true, name: "attention" },
        { type: "add", inputs: ["x", "attention"], name: "y" },
        { type: "layerNorm" },
        { type: "dense", units: 256, activation: "gelu" },
        { type: "dense", units: 64, name: "mixed" },
        { type: "add", inputs: ["y", "mixed"] },
        { type: "layerNorm" },
        { type: "dense", units: classes },
      ],
    }),
  },
  /** LEAF's handwritten letters: 6,603,710 parameters, 26 MB of which go each way each round. */
  femnist: { classes: 62, describe: (classes) => letters(2048, classes) },
  /** The same with 128 units in place of 2,048: 461,630 parameters. */
  "femnist-128": { classes: 62, describe: (classes) => letters(128, classes) },
};

/** Names of the presets. */
export const PRESET_NAMES: readonly string[] = Object.keys(PRESETS);

/** Whether a preset takes examples of any shape, or of any length and channels. */
export const takesAnyInput = (name: string): boolean => PRESETS[name]?.input !== undefined;

/**
 * The description of a preset, with its own number of classes or another.
 * @param input shape of one example, for a preset that takes any
 * @throws ModelError `unknown-preset`
 */
export function preset(
  name: string,
  classes?: number,
  input?: readonly number[],
): ModelDescription {
  if (!Object.hasOwn(PRESETS, name))
    throw new ModelError(
      "unknown-preset",
      `"preset" expected one of ${PRESET_NAMES.join(", ")}, got "${name}"`,
    );
  const { classes: own, input: example = [], describe } = PRESETS[name];
  return describe(classes ?? own, input ?? example);
}
