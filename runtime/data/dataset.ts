import { DataError } from "../errors.js";
import { elements, placeOf, shapeText } from "../tensors/shape.js";

/**
 * Labelled examples as they are held in memory: bytes stay bytes until a batch is made (images as
 * uint8 take a quarter of the space), and a client's part is a list of row numbers, so that many
 * clients can share one data set.
 */
export interface Dataset {
  /** Shape of one example, without the batch: [28, 28, 1], [128, 9]. */
  readonly shape: readonly number[];
  /** Examples end to end, row-major. May lie on a SharedArrayBuffer. */
  readonly inputs: Float32Array | Uint8Array;
  /** Where each example begins in `inputs`; left out: end to end. Windows of one series overlap. */
  readonly starts?: Uint32Array;
  /**
   * One class per example, from 0; all -1 where data without labels was allowed (to predict), and
   * where examples have `targets`.
   */
  readonly labels: Int32Array;
  /** What examples are compared with, where that is not one class each. */
  readonly targets?: Targets;
  /** Where examples are windows of series: what they reach over, and the series of each. */
  readonly windows?: Windows;
  /** The texts that tokens stand for, in the order of their numbers. */
  readonly vocabulary?: readonly string[];
  /** Class names; its length is the number of classes. */
  readonly classes: readonly string[];
  /**
   * The classes are texts in alphabetical order, since nothing says another: a label's number means
   * nothing outside of this data set, its name does.
   */
  readonly alphabetical?: true;
  /** Names of an example's numbers, end to end, where the source has them (a CSV file's header). */
  readonly columns?: readonly string[];
  /** One group per example (a person, a device) where the source has one: natural clients. */
  readonly groups?: Int32Array;
}

/** What the examples of a data set are compared with: classes of positions, or numbers. */
export interface Targets {
  readonly kind: "classes" | "numbers";
  /** How many an example has. */
  readonly size: number;
  /** Classes are whole numbers from 0, -1 where a position has none. May be the inputs themselves. */
  readonly values: Float32Array | Int32Array | Uint8Array;
  /** Where each example's begin in `values`; left out: end to end. */
  readonly starts?: Uint32Array;
  /** Names, one for each of an example's numbers, where the source has them. */
  readonly columns?: readonly string[];
}

/** Examples that overlap: they are held out by time, and dealt in stretches. */
export interface Windows {
  /** Elements of `inputs` from a window's beginning to the end of what it is compared with. */
  readonly span: number;
  readonly series: Uint32Array;
}

/** Some rows of a data set. */
export interface Part {
  readonly dataset: Dataset;
  readonly rows: Uint32Array;
}

/**
 * What is done to an input value before the network sees it: (value / scale - mean[c]) /
 * deviation[c], c being its channel (the last axis). mean and deviation have one number, or one per
 * channel. Travels with the model.
 */
export interface Normalisation {
  readonly scale: number;
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/**
 * Random changes of a training image, as in the paper's set-up: flip with p 0.5; with p 0.5 a crop
 * from a zero pad.
 */
export interface Augmentation {
  readonly flip: boolean;
  /** Pixels of zero padding (after normalisation) from which the crop is taken; 0 for none. */
  readonly crop: number;
}

/** What a reader found, before it is checked. */
export interface Examples {
  readonly shape: readonly number[];
  readonly inputs: Float32Array | Uint8Array;
  /** Where each example begins in `inputs`; left out: end to end. */
  readonly starts?: Uint32Array;
  /** Left out for data without labels. */
  readonly labels?: ArrayLike<number>;
  readonly targets?: Targets;
  readonly groups?: ArrayLike<number>;
  /** Without names the classes are numbered up to the largest label. */
  readonly classes?: readonly string[];
  readonly alphabetical?: true;
  readonly columns?: readonly string[];
  /** Where inputs and groups were read, where not in `source`. */
  readonly inputsFrom?: string;
  readonly groupsFrom?: string;
}

/** More classes than this is taken for a mistake (a column of measurements read as labels). */
const MAX_CLASSES = 10_000;

/**
 * The data set of what a reader found. Labels and groups are copied onto shared memory; inputs stay where they are
 * (readers allocate them with `sharedArray`).
 * @param source the file's name, for the error's sentence
 * @throws DataError `count` where lengths differ, `label` out of range, `not-finite` input or target, `group` not an integer
 */
export function makeDataset(source: string, examples: Examples): Dataset {
  const { shape, inputs, starts, targets, columns, alphabetical } = examples;
  const { inputsFrom = source } = examples;
  const size = elements(shape);
  const count = examples.labels?.length ?? starts?.length ?? Math.floor(inputs.length / size);
  if (inputs.length === 0 || count === 0 || size === 0)
    throw unexpected("count", source, "examples", "at least one", "none");
  if (starts === undefined && inputs.length !== count * size)
    throw unexpected(
      "count",
      inputsFrom,
      "inputs",
      examples.labels
        ? `${count * size} numbers (${count} labels, examples of ${shape.join("x")})`
        : `whole examples of ${shape.join("x")}, ${size} numbers each`,
      String(inputs.length),
    );
  checkFinite(inputsFrom, inputs, shape, size);
  if (targets !== undefined) checkTargets(source, targets, count);

  const twice = examples.classes && firstTwice(examples.classes);
  if (twice !== undefined)
    throw unexpected("label", source, "class names", "each once", `${JSON.stringify(twice)} twice`);
  const bound = examples.classes?.length ?? MAX_CLASSES;
  const labels = examples.labels
    ? integers(source, "label", examples.labels, 0, bound - 1)
    : sharedArray(Int32Array, count).fill(-1);
  const largest = labels.reduce((a, b) => Math.max(a, b), -1);
  const classes = examples.classes ?? Array.from({ length: largest + 1 }, (_, i) => String(i));
  const dataset = {
    shape,
    inputs,
    ...(starts && { starts }),
    labels,
    ...(targets && { targets }),
    classes,
    ...(alphabetical && { alphabetical }),
    ...(columns && { columns }),
  };
  if (examples.groups !== undefined)
    return { ...dataset, groups: groupsOf(examples.groupsFrom ?? source, examples.groups, count) };
  return dataset;
}

function groupsOf(source: string, groups: ArrayLike<number>, count: number): Int32Array {
  if (groups.length !== count)
    throw unexpected("count", source, "groups", `${count}, one per example`, String(groups.length));
  const limit = 2 ** 31 - 1;
  return integers(source, "group", groups, -limit, limit);
}

/** The first text that stands there for the second time. */
export function firstTwice(texts: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return texts.find((text) => seen.has(text) || !seen.add(text));
}

function checkFinite(
  source: string,
  inputs: Dataset["inputs"],
  shape: readonly number[],
  size: number,
): void {
  if (inputs instanceof Uint8Array) return;
  const wrong = inputs.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return;
  throw unexpected(
    "not-finite",
    source,
    `inputs, example ${Math.floor(wrong / size)} at ${shapeText(placeOf(wrong % size, shape))}`,
    "finite numbers",
    String(inputs[wrong]),
  );
}

function checkTargets(
  source: string,
  { kind, size, values, starts }: Targets,
  count: number,
): void {
  if (starts === undefined ? values.length !== count * size : starts.length !== count)
    throw unexpected(
      "count",
      source,
      "targets",
      `${count * size} numbers, ${size} for each of ${count} examples`,
      String(values.length),
    );
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0)
    throw unexpected(
      "not-finite",
      source,
      `target ${wrong % size} of example ${Math.floor(wrong / size)}`,
      kind === "numbers" ? "a finite number" : "a class",
      String(values[wrong]),
    );
}

/** The number of element i's channel, which is one for all or one for each. */
export const channelOf = (numbers: readonly number[], i: number): number =>
  numbers[i % numbers.length];

/** Where row i of values that are `size` long begins. */
export const startOf = (starts: Uint32Array | undefined, row: number, size: number): number =>
  starts === undefined ? row * size : starts[row];

/** A kind of typed array. */
export interface ArrayOf<A> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike): A;
}

/**
 * Zeros in memory that workers share where the platform allows it (Node, cross-origin isolated
 * pages), else in plain memory.
 */
export function sharedArray<A>(Kind: ArrayOf<A>, length: number): A {
  const Memory = typeof SharedArrayBuffer === "undefined" ? ArrayBuffer : SharedArrayBuffer;
  return new Kind(new Memory(Kind.BYTES_PER_ELEMENT * length));
}

/** The DataError of one sentence: `"source" field expected X, got Y`. */
export function unexpected(
  code: string,
  source: string,
  field: string,
  expected: string,
  got: string,
): DataError {
  return new DataError(code, `"${source}" ${field} expected ${expected}, got ${got}`);
}

function integers(
  source: string,
  field: string,
  values: ArrayLike<number>,
  min: number,
  max: number,
): Int32Array {
  const out = sharedArray(Int32Array, values.length);
  for (let i = 0; i < out.length; i++) {
    const value = values[i];
    if (!(Number.isInteger(value) && value >= min && value <= max))
      throw unexpected(
        field,
        source,
        `${field} of example ${i}`,
        `an integer from ${min} to ${max}`,
        String(value),
      );
    out[i] = value;
  }
  return out;
}
