import { ModelError } from "../errors.js";
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

interface Preset {
  readonly classes: number;
  describe(classes: number, input?: readonly number[]): ModelDescription;
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
    describe: (classes, input = [1]) => ({
      input,
      // Rows are flat as they are.
      layers: head(64, classes).slice(input.length > 1 ? 0 : 1),
    }),
  },
};

/** Names of the presets. */
export const PRESET_NAMES: readonly string[] = Object.keys(PRESETS);

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
  return PRESETS[name].describe(classes ?? PRESETS[name].classes, input);
}
