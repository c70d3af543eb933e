import * as v from "valibot";
import { firstTwice, type Normalisation } from "../data/dataset.js";
import type { Expected } from "../data/matching.js";
import { ModelError } from "../errors.js";
import { MODEL, readBlob, writeBlob } from "../tensors/blob.js";
import type { Layout, Vector } from "../tensors/layout.js";
import { readMetadata, readSafetensors } from "../tensors/safetensors.js";
import { elements } from "../tensors/shape.js";
import { check, parseDescription, type ModelDescription } from "./description.js";
import { networkOf } from "./network.js";

/** A trained network and what is needed to use it. */
export interface Model {
  readonly description: ModelDescription;
  readonly layout: Layout;
  readonly weights: Vector;
  /** What was done to the inputs it learned from; nothing if absent. */
  readonly normalisation?: Normalisation;
  /** Class names; one per logit. */
  readonly classes: readonly string[];
  /** Names of an example's numbers, end to end, where the data it learned from had them. */
  readonly columns?: readonly string[];
}

/** What a model file says besides its weights. */
export type ModelCard = Pick<Model, "description" | "normalisation" | "classes" | "columns">;

/** What the model asks of data: see `matched`. */
export const expectedBy = ({ description, classes, columns }: ModelCard): Expected => ({
  input: description.input,
  classes,
  columns,
});

/** The safetensors metadata of a model's blob: the key `model` holds the card as JSON. */
export const modelMetadata = ({
  description,
  normalisation,
  classes,
  columns,
}: ModelCard): Record<string, string> => ({
  model: JSON.stringify({ description, normalisation, classes, columns }),
});

/** A model file: the weights as safetensors, the card in its metadata. */
export const writeModel = (model: Model): Uint8Array<ArrayBuffer> =>
  writeBlob(model.layout, { [MODEL]: model.weights }, modelMetadata(model));

const numbers = (what: string) =>
  v.pipe(v.array(v.pipe(v.number(what), v.finite(what)), what), v.minLength(1, what));

const card = v.looseObject(
  {
    description: v.unknown(),
    normalisation: v.optional(
      v.looseObject(
        {
          scale: v.pipe(
            v.number("a positive number"),
            v.finite("a positive number"),
            v.gtValue(0, "a positive number"),
          ),
          mean: numbers("a list of numbers"),
          deviation: v.pipe(
            numbers("a list of positive numbers"),
            v.everyItem((number) => number > 0, "a list of positive numbers"),
          ),
        },
        "an object with scale, mean and deviation",
      ),
    ),
    classes: v.array(v.string("a name"), "a list of class names"),
    columns: v.optional(v.array(v.string("a name"), "a list of column names")),
  },
  "a JSON object with description, normalisation and classes",
);

/**
 * Reads a model card: `{description, normalisation?, classes, columns?}`, an object parsed from JSON.
 * @throws ModelError `model-file` or `description` that names the field.
 */
export function parseCard(json: unknown): ModelCard {
  const { description: described, normalisation, classes, columns } = check(card, json, "model");
  const description = parseDescription(described);
  const network = networkOf(description);
  const { target } = network.loss;
  // Until examples can have other targets, nothing else could be trained or evaluated.
  if (target.kind !== "classes" || target.size !== 1)
    throw new ModelError(
      "model-file",
      `"model.description" expected a model whose target is one class for each example, got one with ${description.loss?.type ?? "an output at each position"}`,
    );
  if (classes.length !== network.classes)
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
  return { description, normalisation, classes, ...(columns && { columns }) };
}

/**
 * Reads a model file, or a model blob that carries more than the weights.
 * @throws ModelError `safetensors`, `model-file` (no or a wrong card), `description`, `layout`
 * (weights that do not fit), or `not-finite`.
 */
export function loadModel(bytes: Uint8Array): Model {
  const read = cardIn(readSafetensors(bytes).metadata);
  const { layout } = networkOf(read.description);
  return {
    ...read,
    layout,
    weights: readBlob(bytes, layout, [MODEL])[MODEL],
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
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ModelError("model-file", `"model" expected JSON, got other text`);
  }
  return parseCard(json);
}
