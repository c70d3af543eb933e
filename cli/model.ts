import { readFile } from "node:fs/promises";
import { ConfigError, DataError, ModelError } from "../runtime/errors.js";
import { normalisations } from "../runtime/data/normalise.js";
import { parseDescription } from "../runtime/models/description.js";
import { parseCard, type ModelCard } from "../runtime/models/model.js";
import { networkOf } from "../runtime/models/network.js";
import { PRESET_NAMES, preset } from "../runtime/models/presets.js";
import type { OpenedData } from "./data.js";

/** The data set that a preset was made for: it decides the normalisation where the data do not. */
const MADE_FOR: Readonly<Record<string, string>> = {
  "fashion-small": "fashion-mnist",
  cifar: "cifar-100",
};

/**
 * The model that a run trains: a preset, or a JSON file with a description or a whole card
 * ({description, normalisation, classes}). Where data are given, class names are theirs.
 * @throws ConfigError `model` for a name or file that is none, ModelError for what is wrong in it, DataError `shape`
 * where it does not fit the data.
 */
export async function modelNamed(name: string, data?: OpenedData): Promise<ModelCard> {
  const dataset = data?.train ?? data?.test;
  let card: ModelCard;
  if (PRESET_NAMES.includes(name)) {
    const description = preset(name, dataset?.classes.length);
    card = {
      ...bare(description, dataset?.classes),
      normalisation: normalisations[data?.format ?? ""] ?? normalisations[MADE_FOR[name]],
    };
  } else {
    const json = await readJson(name);
    card =
      typeof json === "object" && json !== null && "description" in json
        ? parseCard(json)
        : bare(parseDescription(json), dataset?.classes);
  }
  if (dataset === undefined) return card;
  const { input } = card.description;
  if (dataset.shape.join() !== input.join())
    throw new DataError(
      "shape",
      `"data" expected examples of ${input.join("x")} for the model ${name}, got ${dataset.shape.join("x")}`,
    );
  if (dataset.classes.length !== card.classes.length)
    throw new DataError(
      "label",
      `"data" expected ${card.classes.length} classes for the model ${name}, got ${dataset.classes.length}`,
    );
  return card;
}

/** A description with the names given for its classes, else their numbers. */
function bare(description: ModelCard["description"], names?: readonly string[]): ModelCard {
  const { classes } = networkOf(description);
  return {
    description,
    classes: names ?? Array.from({ length: classes }, (_, i) => String(i)),
  };
}

async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch {
    throw new ConfigError(
      "usage",
      `"--model" expected one of ${PRESET_NAMES.join(", ")} or a file that can be read, got "${file}"`,
    );
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelError("model-file", `"${file}" expected JSON, got ${(error as Error).message}`);
  }
}
