import * as v from "valibot";
import { checked } from "./messages.js";
import { above0, between, whole } from "./numbers.js";

const name = v.pipe(v.string(), v.maxLength(64));

/**
 * How clients train: bounds and default of each setting. A run is given them, and each assignment
 * carries them under the same names. The bounds keep a server from ordering nonsense; the client's
 * own limits are narrower.
 */
export const trainSettings = {
  algorithm: v.optional(name, "fedavg"),
  algorithmSettings: v.optional(v.record(name, between(-1e12, 1e12)), {}),
  localEpochs: v.optional(whole(1, 10_000), 5),
  /** Epochs before them in which only personal layers move (FedRep). */
  headEpochs: v.optional(whole(1, 10_000)),
  batchSize: v.optional(whole(1, 65_536), 50),
  /** Of the run's first round; an assignment has its round's. */
  learningRate: v.optional(between(0, 1e6), 0.1),
  weightDecay: v.optional(between(0, 1e6), 0.001),
  clipNorm: v.optional(between(0, 1e12), 10),
  zeta: v.optional(between(0, 1e6), 0.15),
  manIncludesLogits: v.optional(v.boolean(), false),
  shuffle: v.optional(v.boolean(), true),
  /** What becomes of batchNorm's running values. */
  batchNorm: v.optional(v.picklist(["frozen", "average", "local"])),
  augmentation: v.optional(v.strictObject({ flip: v.boolean(), crop: whole(0, 256) })),
};

/**
 * `assign.settings` of the task `train`: all of them, and what belongs to one client's round. Strict,
 * unlike the messages: a setting that this client does not know would change what training means,
 * so it is declined.
 */
const assignedSettings = v.strictObject({
  ...withoutDefaults(trainSettings),
  initialLearningRate: between(0, 1e6),
  population: whole(1, 1e9),
  meanSamples: between(0, 1e12),
  seed: v.pipe(v.string(), v.maxLength(256)),
  grid: v.optional(
    v.pipe(
      between(2 ** -1074, 2 ** 127),
      v.check((grid) => 2 ** Math.round(Math.log2(grid)) === grid, "a power of two"),
    ),
  ),
});

export type TrainSettings = v.InferOutput<typeof assignedSettings>;

/** `assign.settings` of the task `statistics`, likewise strict. */
const statisticsSettings = v.strictObject({
  /** Of one example. */
  shape: v.array(whole(1)),
  /** What inputs are divided by first. */
  scale: above0(1e30),
  /** Columns of the targets, where they are not the inputs' own. */
  targets: whole(0, 1024),
});

/**
 * Reads `assign.settings` of a training task. @throws ProtocolError `settings` naming the first
 * setting that is wrong.
 */
export const readTrainSettings = (settings: unknown): TrainSettings =>
  checked(assignedSettings, settings, "settings");

/** Reads `assign.settings` of the task `statistics`. @throws ProtocolError `settings` likewise */
export const readStatisticsSettings = (settings: unknown) =>
  checked(statisticsSettings, settings, "settings");

/** Those of the values that the schemas name. */
export const pick = <T extends object, S extends object>(
  values: T,
  schemas: S,
): Pick<T, keyof T & keyof S> =>
  Object.fromEntries(Object.entries(values).filter(([key]) => Object.hasOwn(schemas, key))) as Pick<
    T,
    keyof T & keyof S
  >;

type WithoutDefaults<T> = {
  [K in keyof T]: T[K] extends v.OptionalSchema<infer Wrapped, infer Default>
    ? undefined extends Default
      ? T[K]
      : Wrapped
    : never;
};

/** The same schemas, where what has a default has to be given. */
function withoutDefaults<T extends Record<string, v.OptionalSchema<v.GenericSchema, unknown>>>(
  schemas: T,
): WithoutDefaults<T> {
  const entries = Object.entries(schemas).map(([key, schema]) => [
    key,
    schema.default === undefined ? schema : schema.wrapped,
  ]);
  return Object.fromEntries(entries) as WithoutDefaults<T>;
}
