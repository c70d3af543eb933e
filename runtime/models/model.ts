import * as v from "valibot";
import { firstTwice, type Normalisation } from "../data/dataset.js";
import type { Expected, ExpectedTarget } from "../data/matching.js";
import { ModelError } from "../errors.js";
import { parseJson } from "../json.js";
import { MODEL, readBlob, writeBlob } from "../tensors/blob.js";
import type { Layout, Vector } from "../tensors/layout.js";
import { readMetadata, readSafetensors } from "../tensors/safetensors.js";
import { elements } from "../tensors/shape.js";
import { baseNamed, joinBase } from "./base.js";
import { check, parseDescription, type ModelDescription } from "./description.js";
import { listOf, numberThat, positive } from "./layers/fields.js";
import { networkOf, type Network } from "./network.js";

/** A trained network and what is needed to use it. */
export interface Model {
  readonly description: ModelDescription;
  readonly layout: Layout;
  readonly weights: Vector;
  /** What was done to the inputs it learned from; nothing if absent. */
  readonly normalisation?: Normalisation;
  /** Class names, one per logit, or names of several labels; none where the output is numbers. */
  readonly classes: readonly string[];
  /** How number targets are normalised: what the network gives is in these units. */
  readonly targets?: TargetScale;
  /** The texts that tokens stand for, in the order of their numbers. */
  readonly vocabulary?: readonly string[];
  /** Above which error an example is out of the ordinary, where the input is the target. */
  readonly threshold?: Threshold;
  /** Names of an example's numbers, end to end, where the data it learned from had them. */
  readonly columns?: readonly string[];
}

/**
 * Targets as the network learns them: (value - mean[c]) / deviation[c], c being the target's last
 * axis. Both have one number, or one per column.
 */
export interface TargetScale {
  /** Names of the numbers, where the data it learned from had them. */
  readonly columns?: readonly string[];
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** An example whose error is above `value` is worse than this share of those held out. */
export interface Threshold {
  readonly quantile: number;
  readonly value: number;
}

/** What a model file says beyond its weights. */
export type ModelCard = Omit<Model, "layout" | "weights">;

/** What the model asks of data: see `matched`. */
export function expectedBy(card: ModelCard): Expected {
  const { description, classes, columns, targets, vocabulary } = card;
  const { loss } = networkOf(description);
  const target = targetOf(loss, loss.task === "labels" ? classes : targets?.columns);
  return {
    ...{ input: description.input, classes, columns },
    ...(vocabulary && { vocabulary }),
    ...(target && { target }),
  };
}

/** What an example is compared with, where that is not one class. */
function targetOf(
  { task, target }: Network["loss"],
  columns: readonly string[] | undefined,
): ExpectedTarget | undefined {
  if (task === "classes") return undefined;
  return { ...target, ...(target.kind === "numbers" && columns && { columns }) };
}

/** The safetensors metadata of a model's blob: the key `model` holds the card as JSON. */
export const modelMetadata = ({
  description,
  normalisation,
  classes,
  columns,
  targets,
  vocabulary,
  threshold,
}: ModelCard): Record<string, string> => ({
  model: JSON.stringify({
    description,
    normalisation,
    ...(classes.length > 0 && { classes }),
    columns,
    targets,
    vocabulary,
    threshold,
  }),
});

/** A model file: the weights as safetensors, the card in its metadata. */
export const writeModel = (model: Model): Uint8Array<ArrayBuffer> =>
  writeBlob(model.layout, { [MODEL]: model.weights }, modelMetadata(model));

const names = (what: string) => v.array(v.string("a name"), what);

const finite = (what: string) => numberThat(what, Number.isFinite);
const numbers = (what: string) => listOf(finite(what), what);
const deviation = v.pipe(
  numbers("a list of positive numbers"),
  v.check((list) => list.every((number) => number > 0), "a list of positive numbers"),
);

const card = v.object(
  {
    description: v.unknown(),
    normalisation: v.optional(
      v.object(
        {
          scale: positive,
          mean: numbers("a list of numbers"),
          deviation,
        },
        "an object with scale, mean and deviation",
      ),
    ),
    classes: v.optional(names("a list of class names"), []),
    columns: v.optional(names("a list of column names")),
    targets: v.optional(
      v.object(
        {
          columns: v.optional(names("a list of names")),
          mean: numbers("a list of numbers"),
          deviation,
        },
        "an object with mean and deviation",
      ),
    ),
    vocabulary: v.optional(names("a list of texts")),
    threshold: v.optional(
      v.object(
        { quantile: finite("a number"), value: finite("a number") },
        "an object with quantile and value",
      ),
    ),
  },
  "a JSON object with description, normalisation and classes",
);

/**
 * Reads a model card: `{description, normalisation?, classes?, columns?, targets?, vocabulary?, threshold?}`, an
 * object parsed from JSON.
 * @throws ModelError `model-file` or `description` that names the field.
 */
export function parseCard(json: unknown): ModelCard {
  const read = check(card, json, "model");
  const { normalisation, classes, columns, targets } = read;
  const description = parseDescription(read.description);
  const network = networkOf(description);
  const { task, target } = network.loss;
  const needsNames = task === "classes" && classes.length === 0;
  if (needsNames || (classes.length > 0 && classes.length !== network.classes))
    throw new ModelError(
      "model-file",
      `"model.classes" expected ${network.classes} names, one per logit, got ${classes.length}`,
    );
  // Labels are matched by name.
  const twice = firstTwice(classes);
  if (twice !== undefined)
    throw new ModelError(
      "model-file",
      `"model.classes" expected each name once, got ${JSON.stringify(twice)} twice`,
    );
  const size = elements(network.input);
  if (columns !== undefined && columns.length !== size)
    throw new ModelError(
      "model-file",
      `"model.columns" expected ${size} names, one per number of an example, got ${columns.length}`,
    );
  const channels = network.input[network.input.length - 1];
  for (const field of ["mean", "deviation"] as const) {
    const length = normalisation?.[field].length ?? 1;
    if (length !== 1 && length !== channels)
      throw new ModelError(
        "model-file",
        `"model.normalisation.${field}" expected one number or one for each of ${channels} channels, got ${length}`,
      );
  }
  for (const field of ["columns", "mean", "deviation"] as const) {
    const list = targets?.[field];
    const most = field === "columns" ? target.size : network.classes;
    if (list !== undefined && list.length !== most && !(field !== "columns" && list.length === 1))
      throw new ModelError(
        "model-file",
        `"model.targets.${field}" expected one for each of ${most} numbers, got ${list.length}`,
      );
  }
  return { ...read, description };
}

/**
 * Reads a model file, or a model blob that carries more than the weights.
 * @param base the file of its base, where it names one
 * @throws ModelError `safetensors`, `model-file` (no or a wrong card), `description`, `layout`
 * (weights that do not fit), or `not-finite`.
 */
export function loadModel(bytes: Uint8Array, base?: Uint8Array): Model {
  const { metadata } = readSafetensors(bytes);
  const read = cardIn(metadata);
  const network = networkOf(read.description);
  const { layout } = network;
  return {
    ...read,
    layout,
    weights:
      baseNamed(metadata) === undefined
        ? readBlob(bytes, layout, [MODEL])[MODEL]
        : joinBase(bytes, network, base),
  };
}

/**
 * The card of a model file, of which only the header needs to be there.
 * @throws ModelError `safetensors`, `model-file`, `description`
 */
export const readCard = (bytes: Uint8Array): ModelCard => cardIn(readMetadata(bytes));

function cardIn(metadata: Readonly<Record<string, string>>): ModelCard {
  const text = metadata["model"];
  if (text === undefined)
    throw new ModelError(
      "model-file",
      `"model" expected in the file's metadata, got nothing of that name`,
    );
  const json = parseJson(text);
  if (json === undefined)
    throw new ModelError("model-file", `"model" expected JSON, got other text`);
  return parseCard(json);
}
