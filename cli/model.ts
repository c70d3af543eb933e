import { readFile, stat } from "node:fs/promises";
import { ConfigError, DataError, ModelError } from "../runtime/errors.js";
import type { Dataset } from "../runtime/data/dataset.js";
import { matched } from "../runtime/data/matching.js";
import { normalisationOf, normalisations, targetScaleOf } from "../runtime/data/normalise.js";
import { parseDescription } from "../runtime/models/description.js";
import { expectedBy, parseCard, type Model, type ModelCard } from "../runtime/models/model.js";
import { networkOf, type Network } from "../runtime/models/network.js";
import { PRESET_NAMES, preset, takesAnyInput } from "../runtime/models/presets.js";
import type { Vector } from "../runtime/tensors/layout.js";
import type { OpenedData } from "./data.js";
import { parseJson } from "./json.js";
import { withShares, type ShareWords } from "./shares.js";
import { readModel } from "./model-file.js";

/** The data set that a preset was made for: it decides the normalisation where the data do not. */
const MADE_FOR: Readonly<Record<string, string>> = {
  "fashion-small": "fashion-mnist",
  cifar: "cifar-100",
  "resnet-8": "cifar-100",
  "resnet-20": "cifar-100",
};

/** A model that a run begins with: random weights where it has none. */
export type BeginningCard = ModelCard & { readonly weights?: Vector };

/**
 * The model that a run trains: a preset, a JSON file with a description or a whole card
 * ({description, normalisation, classes, columns}), or a model with its weights: a folder or a
 * `.safetensors` file. Where data are given, names that the file lacks are theirs.
 * @param shares which of its layers are frozen or personal, beside those that it says are
 * @throws ConfigError `model` for a name or file that is none, ModelError for what is wrong in it,
 * DataError `shape`, `columns`, `label` where it does not fit the data.
 */
export async function modelNamed(
  name: string,
  data?: OpenedData,
  shares: ShareWords = {},
): Promise<BeginningCard> {
  const dataset = data?.train ?? data?.test;
  const card = PRESET_NAMES.includes(name)
    ? fromPreset(name, data?.format, dataset)
    : (await isModel(name))
      ? fromModel(name, await readModel(name), dataset)
      : fromJson(name, await readJson(name), dataset);
  if (dataset !== undefined) matched("data", dataset, expectedBy(card));
  return { ...card, description: withShares(card.description, shares) };
}

/**
 * The preset for these data, where no model is named: one for their task, else for their shape.
 * @throws ConfigError `usage` where there is none
 */
export function presetFor(data?: OpenedData): string {
  const dataset = data?.train ?? data?.test;
  if (dataset === undefined) return "fashion-small";
  const { shape, vocabulary, targets, labels } = dataset;
  if (vocabulary !== undefined) return "characters";
  if (targets === undefined && labels.every((label) => label < 0)) return "autoencoder";
  if (targets !== undefined && shape.length === 2) return "forecast";
  if (shape.length === 1) return "perceptron";
  const found = PRESET_NAMES.find((name) => preset(name).input.join() === shape.join());
  if (found !== undefined) return found;
  if (shape.length === 2) return "perceptron";
  throw new ConfigError(
    "usage",
    `"--model" expected perceptron, or a file with a description, since no other preset takes examples of ${shape.join("x")}, got nothing`,
  );
}

function fromPreset(name: string, format: string | undefined, dataset?: Dataset): ModelCard {
  const ofAnyShape = takesAnyInput(name);
  if (ofAnyShape && dataset === undefined)
    throw new ConfigError(
      "usage",
      `"--model" expected data beside ${name}, which is as wide as they are (--test), got none`,
    );
  if (name === "forecast" && dataset !== undefined && dataset.shape.length !== 2)
    throw new DataError(
      "shape",
      `"data" expected series cut into windows (--window, with --target next) for the model forecast, got examples of ${dataset.shape.join("x")}`,
    );
  const targets = dataset?.targets;
  const outputs =
    targets?.kind === "numbers"
      ? targets.size
      : (dataset?.vocabulary?.length ?? (dataset?.classes.length || undefined));
  const described = preset(name, outputs, dataset?.shape);
  const description: ModelCard["description"] =
    targets?.kind === "numbers" && described.loss === undefined
      ? { ...described, loss: { type: "meanSquaredError" } }
      : described;
  const known = normalisations[format ?? ""] ?? normalisations[MADE_FOR[name]];
  return bare(
    name,
    description,
    dataset,
    ofAnyShape && dataset !== undefined ? ofPixels(dataset) : known,
  );
}

/** Of images what the data say; tables and series are normalised by what clients say. */
const ofPixels = (dataset: Dataset) =>
  dataset.shape.length > 2 ? normalisationOf(dataset) : undefined;

const isModel = async (path: string): Promise<boolean> =>
  path.endsWith(".safetensors") ||
  ((await stat(path).catch(() => undefined))?.isDirectory() ?? false);

/**
 * A model with its weights. Imported ones call their classes "0", "1" ...; those of data that have
 * as many take their place.
 */
function fromModel(path: string, model: Model, dataset?: Dataset): BeginningCard {
  const { weights, layout: _, ...card } = model;
  const numbered = card.classes.every((name, i) => name === String(i));
  if (dataset === undefined) return { ...card, weights };
  const named = numbered ? bare(path, card.description, dataset, card.normalisation) : undefined;
  fitting(path, card.description, dataset);
  return { ...named, ...card, ...(named && { classes: named.classes }), weights };
}

function fromJson(file: string, json: unknown, dataset?: Dataset): ModelCard {
  if (typeof json !== "object" || json === null || !("description" in json))
    return bare(file, parseDescription(json), dataset);
  const card = parseCard(json);
  if (dataset === undefined) return card;
  fitting(file, card.description, dataset);
  const { task } = networkOf(card.description).loss;
  if (task === "classes" && dataset.classes.length > card.classes.length)
    throw wrongCount(file, card.classes.length, dataset);
  return { ...(dataset.columns && { columns: dataset.columns }), ...card };
}

/** A description with the data's names for its classes and columns, else numbers. */
function bare(
  name: string,
  description: ModelCard["description"],
  dataset?: Dataset,
  normalisation?: ModelCard["normalisation"],
): ModelCard {
  const network = networkOf(description);
  const { task } = network.loss;
  if (dataset !== undefined) {
    fitting(name, description, dataset);
    if (task === "classes" && dataset.classes.length !== network.classes)
      throw wrongCount(name, network.classes, dataset);
  }
  return {
    description,
    ...(normalisation && { normalisation }),
    classes: classesOf(network, dataset),
    ...(dataset?.columns && { columns: dataset.columns }),
    ...(dataset?.vocabulary && { vocabulary: dataset.vocabulary }),
    ...(task === "numbers" && dataset?.targets && { targets: targetScaleOf(dataset.targets) }),
  };
}

/** Names of the classes or labels: those of the data, else numbers; none where outputs are numbers. */
function classesOf({ classes, loss: { task } }: Network, dataset?: Dataset): readonly string[] {
  if (task === "numbers" || task === "input" || dataset?.vocabulary) return [];
  const names = task === "labels" ? dataset?.targets?.columns : dataset?.classes;
  return names?.length === classes ? names : Array.from({ length: classes }, (_, i) => String(i));
}

/** Makes sure that examples have the shape that a model takes. */
function fitting(
  name: string,
  { input }: ModelCard["description"],
  { shape, vocabulary }: Dataset,
): void {
  const way = vocabulary === undefined ? "" : ` (--window ${input[0]})`;
  if (shape.join() !== input.join())
    throw new DataError(
      "shape",
      `"data" expected examples of ${input.join("x")} for the model ${name}${way}, got ${shape.join("x")}`,
    );
}

const wrongCount = (name: string, expected: number, { classes }: Dataset): DataError =>
  new DataError(
    "label",
    `"data" expected ${expected} classes for the model ${name}, got ${classes.length}`,
  );

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
  return parseJson(
    text,
    (got) => new ModelError("model-file", `"${file}" expected JSON, got ${got}`),
  );
}
