import * as v from "valibot";
import { ProtocolError } from "../errors.js";
import { describe } from "./messages.js";

const between = (min: number, max: number) =>
  v.pipe(v.number(), v.finite(), v.minValue(min), v.maxValue(max));
const whole = (min: number, max: number) => v.pipe(between(min, max), v.integer());

/**
 * `assign.settings` of the task `train`. Strict, unlike the messages: a setting that this client
 * does not know would change what training means, so it is declined. The bounds keep a server from
 * ordering nonsense; the client's own limits are narrower.
 */
const trainSettings = v.strictObject({
  algorithm: v.pipe(v.string(), v.maxLength(64)),
  algorithmSettings: v.record(v.pipe(v.string(), v.maxLength(64)), between(-1e12, 1e12)),
  localEpochs: whole(1, 10_000),
  batchSize: whole(1, 65_536),
  learningRate: between(0, 1e6),
  initialLearningRate: between(0, 1e6),
  weightDecay: between(0, 1e6),
  clipNorm: between(0, 1e12),
  zeta: between(0, 1e6),
  manIncludesLogits: v.boolean(),
  shuffle: v.boolean(),
  augmentation: v.optional(v.strictObject({ flip: v.boolean(), crop: whole(0, 256) })),
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

export type TrainSettings = v.InferOutput<typeof trainSettings>;

/**
 * Reads `assign.settings` of a training task. @throws ProtocolError `settings` naming the first
 * setting that is wrong.
 */
export function readTrainSettings(settings: unknown): TrainSettings {
  const result = v.safeParse(trainSettings, settings, { abortEarly: true });
  if (!result.success) throw new ProtocolError("settings", describe("settings", result.issues[0]));
  return result.output;
}
