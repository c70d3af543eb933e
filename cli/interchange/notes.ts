import {
  parseLoss,
  type LossDescription,
  type ModelDescription,
} from "../../runtime/models/description.js";
import { parseCard, type Model, type ModelCard } from "../../runtime/models/model.js";
import { namesFor } from "./imported.js";

// What our writers note beside a network, where its format has room for it: no other program minds.

/** Names of what goes in and comes out. */
type Names = Partial<Pick<ModelCard, "classes" | "columns" | "vocabulary">>;

/** What a file notes; nothing of it is sure to fit the network. */
export interface Notes {
  readonly loss?: LossDescription;
  readonly names?: Names;
}

const NAMES = ["classes", "columns", "vocabulary"] as const;

/** Notes of a model by their keys, as values of JSON. */
export function notesOf({ description, ...model }: Model): Readonly<Record<string, unknown>> {
  const names = NAMES.flatMap((key) => (model[key]?.length ? [[key, model[key]] as const] : []));
  return {
    loss: description.loss ?? { type: "softmaxCrossEntropy" },
    ...Object.fromEntries(names),
  };
}

/** The notes in a value of JSON; those that are none are left out. */
export function readNotes(value: unknown): Notes {
  if (typeof value !== "object" || value === null) return {};
  const { loss, ...given } = value as Readonly<Record<string, unknown>>;
  const names = NAMES.filter((key) => {
    const list = given[key];
    return Array.isArray(list) && list.every((name) => typeof name === "string");
  });
  return {
    ...lossIn(loss),
    names: Object.fromEntries(names.map((key) => [key, given[key]])),
  };
}

function lossIn(value: unknown): Pick<Notes, "loss"> {
  try {
    return value === undefined ? {} : { loss: parseLoss(value) };
  } catch {
    return {};
  }
}

/** The names that fit a network: all of them, or none. */
export function cardWith(
  description: ModelDescription,
  names: Names | undefined,
): Omit<ModelCard, "description"> {
  // Tokens have the names of the vocabulary.
  const classes = names?.vocabulary === undefined ? namesFor(description) : [];
  try {
    const { description: _, ...card } = parseCard({ classes, ...names, description });
    return card;
  } catch {
    return { classes: namesFor(description) };
  }
}
