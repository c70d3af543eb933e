import type { Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";

/** y = x * deviation + mean. */
export interface Units {
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

const over = (list: readonly number[], length: number) =>
  Array.from({ length }, (_, i) => list[i % list.length]);

/** The units in which a model takes its input, for each channel: x' = (x - mean) / deviation. */
export function inputUnits({ normalisation, description }: Model): Units | undefined {
  if (normalisation === undefined) return undefined;
  const { scale, mean, deviation } = normalisation;
  const channels = description.input[description.input.length - 1];
  const raw = (list: readonly number[]) => over(list, channels).map((value) => value * scale);
  return { mean: raw(mean), deviation: raw(deviation) };
}

/** The units of its output, for each of the last axis: the target's, or the input's that it gives again. */
export function outputUnits(model: Model): Units | undefined {
  const { classes, loss } = networkOf(model.description);
  const units = loss.task === "input" ? inputUnits(model) : model.targets;
  return units && { mean: over(units.mean, classes), deviation: over(units.deviation, classes) };
}
