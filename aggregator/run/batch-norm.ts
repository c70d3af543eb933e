import { ConfigError } from "../../runtime/errors.js";
import type { Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import type { BatchNormPolicy } from "../../runtime/training/local-round.js";
import type { AggregatorSettings } from "../settings.js";

/**
 * What becomes of the running values of a model's batchNorm layers; nothing where it has none that
 * could move. Where the settings do not say, values that the model brings stay, and others are
 * averaged.
 * @throws ConfigError `settings` where it does not go with the model or with what else is set
 */
export function batchNormOf(
  { batchNorm: given, dpNoise, aggregate, modelCodec }: AggregatorSettings,
  { description, weights }: Pick<Model, "description" | "weights">,
): BatchNormPolicy | undefined {
  const { statistics } = networkOf(description).shares;
  const wrong = (expected: string, got: string): never => {
    throw new ConfigError("settings", `"batchNorm" expected ${expected}, got ${got}`);
  };
  if (statistics.places.length === 0)
    return given === undefined
      ? given
      : wrong("a model with batch normalisations that learn", given);
  const isNew = statistics.places.every((place) => {
    const initial = place.name.endsWith(".variance") ? 1 : 0;
    return parameterView(weights, place).every((value) => value === initial);
  });
  const policy = given ?? (isNew ? "average" : "frozen");
  if (policy !== "average") return policy;
  if (dpNoise !== undefined)
    wrong("frozen or local beside dpNoise, which hides no running values", policy);
  if (aggregate !== "mean")
    wrong(`frozen or local beside ${aggregate}, which sees no running values`, policy);
  if (modelCodec === "int8")
    wrong("frozen or local beside modelCodec int8, whose rounding may leave no variance", policy);
  return policy;
}
