import { DataError } from "../errors.js";
import { sharedArray, unexpected, type ArrayOf, type Dataset } from "./dataset.js";
import { countable, listed, numbered } from "./labels.js";
import { shapeText } from "../tensors/shape.js";

/** What a model says of the data that it takes. */
export interface Expected {
  /** Shape of one example. */
  readonly input: readonly number[];
  /** Class names; one per logit. */
  readonly classes: readonly string[];
  /** Names of an example's numbers, where the model knows them. */
  readonly columns?: readonly string[];
  /** The texts that tokens stand for. */
  readonly vocabulary?: readonly string[];
  /** What an example is compared with; left out: one of the classes. */
  readonly target?: ExpectedTarget;
}

/** Classes of an example's positions, numbers, or the input itself: then nothing is asked for. */
export interface ExpectedTarget {
  readonly kind: "classes" | "numbers" | "input";
  /** How many an example has. */
  readonly size: number;
  /** The numbers are from 0 to 1: how far a label is there. */
  readonly isShare?: boolean;
  /** Names of the numbers, where the model knows them. */
  readonly columns?: readonly string[];
}

/**
 * The data set as the model takes it: columns and labels are matched by name where both sides have
 * names, and nothing is renumbered otherwise. The same data set where nothing changes.
 * @param source what the data are called in the error's sentence
 * @throws DataError `columns`, `shape`, `label`, `target`
 */
export function matched(source: string, dataset: Dataset, model: Expected): Dataset {
  const arranged = withColumns(source, dataset, model.columns);
  if (arranged.shape.join() !== model.input.join())
    throw new DataError(
      "shape",
      `"${source}" expected examples of shape ${shapeText(model.input)}, got ${shapeText(arranged.shape)}`,
    );
  const told = withVocabulary(source, arranged, model.vocabulary);
  if (model.target === undefined) return withClasses(source, told, model.classes);
  return withTargets(source, told, model.target);
}

/**
 * The data set with its tokens counted by these texts; data without texts bring the model's numbers.
 * @throws DataError `vocabulary` where a text is none of them, or the model has none
 */
function withVocabulary(
  source: string,
  dataset: Dataset,
  names: readonly string[] | undefined,
): Dataset {
  const { vocabulary, inputs, targets } = dataset;
  if (vocabulary === undefined) return dataset;
  // Each of many would count its own characters.
  if (names === undefined)
    throw unexpected("vocabulary", source, "texts", "a model with a vocabulary", "one without");
  if (same(vocabulary, names)) return dataset;
  const unknown = vocabulary.find((text) => !names.includes(text));
  if (unknown !== undefined)
    throw unexpected(
      "vocabulary",
      source,
      "texts",
      `some of the model's ${names.length}`,
      JSON.stringify(unknown),
    );
  const places = vocabulary.map((text) => names.indexOf(text));
  const Kind: ArrayOf<Float32Array | Uint8Array> = names.length > 256 ? Float32Array : Uint8Array;
  const moved = sharedArray(Kind, inputs.length);
  inputs.forEach((token, i) => (moved[i] = places[token]));
  return {
    ...{ ...dataset, inputs: moved, vocabulary: names },
    // Each place is compared with the next one of the same text.
    ...(targets && { targets: { ...targets, values: moved } }),
  };
}

/**
 * The data set with its targets as the model takes them: columns in its order, where both sides have
 * names. Data without any (to predict) stay as they are.
 * @throws DataError `target`
 */
function withTargets(source: string, dataset: Dataset, expected: ExpectedTarget): Dataset {
  const { targets, labels } = dataset;
  if (expected.kind === "input") return dataset;
  if (targets === undefined && labels.every((label) => label < 0)) return dataset;
  if (targets?.kind !== expected.kind || targets.size !== expected.size)
    throw unexpected(
      "target",
      source,
      "targets",
      targetWords(expected),
      targets === undefined ? "a class for each example" : targetWords(targets),
    );
  const { columns, values } = targets;
  const names = expected.columns;
  if (names === undefined || columns === undefined || same(columns, names)) return dataset;
  const missing = names.find((name) => !columns.includes(name));
  if (missing !== undefined)
    throw unexpected("target", source, "targets", listed(names), listed(columns));
  const moved = inOrder(Float32Array, values, columns, names);
  return { ...dataset, targets: { ...targets, values: moved, columns: names } };
}

/** What an example is compared with, in words. */
const targetWords = ({ kind, size, columns }: ExpectedTarget): string => {
  const what = kind === "classes" ? "classes" : size === 1 ? "number" : "numbers";
  return `${size} ${what} for each example${columns ? ` (${listed(columns)})` : ""}`;
};

/**
 * The data set with its labels counted by these names. Numbers stay as they are, unless names are
 * numbers in another order.
 * @throws DataError `label` where a label is none of them
 */
export function withClasses(source: string, dataset: Dataset, names: readonly string[]): Dataset {
  const { classes, labels, alphabetical } = dataset;
  if (same(classes, names)) return dataset;
  const refuse = (i: number) => {
    const name = classes[labels[i]] ?? String(labels[i]);
    const among = numbered(names)
      ? `a number of the model's ${names.length} classes, which have no names`
      : `one of the model's classes, ${listed(names)}`;
    return unexpected("label", source, `label of example ${i}`, among, JSON.stringify(name));
  };
  // Numbers that the data bring mean the classes' numbers, where one side has nothing else.
  const byNumber = numbered(classes)
    ? countable(names)
    : numbered(names) && alphabetical === undefined;
  if (byNumber) {
    const outside = labels.findIndex((label) => label >= names.length);
    if (outside >= 0) throw refuse(outside);
    return dataset;
  }
  const places = new Map(names.map((name, place) => [name, place]));
  const moved = sharedArray(Int32Array, labels.length);
  for (let i = 0; i < moved.length; i++) {
    const place = labels[i] < 0 ? -1 : places.get(classes[labels[i]]);
    if (place === undefined) throw refuse(i);
    moved[i] = place;
  }
  const { alphabetical: _, ...rest } = dataset;
  return { ...rest, labels: moved, classes: names };
}

/**
 * The data set with its columns in this order, where both sides have names.
 * @throws DataError `columns` where they are not the same ones
 */
export function withColumns(
  source: string,
  dataset: Dataset,
  names: readonly string[] | undefined,
): Dataset {
  const { columns, inputs } = dataset;
  // Names of columns are those of a table's rows, which never overlap.
  if (names === undefined || columns === undefined || same(columns, names)) return dataset;
  const missing = names.find((name) => !columns.includes(name));
  const beyond = columns.find((name) => !names.includes(name));
  if (missing !== undefined || beyond !== undefined || columns.length !== names.length)
    throw new DataError(
      "columns",
      `"${source}" expected the columns ${listed(names)}, got ${
        missing !== undefined
          ? `none named ${JSON.stringify(missing)}`
          : beyond !== undefined
            ? `${JSON.stringify(beyond)} too`
            : "another number of them"
      }`,
    );
  if (new Set(names).size !== names.length)
    throw new DataError(
      "columns",
      `"${source}" expected names that differ or the order of the model's columns, got two columns of one name`,
    );
  const Kind: ArrayOf<Float32Array | Uint8Array> =
    inputs instanceof Uint8Array ? Uint8Array : Float32Array;
  return { ...dataset, inputs: inOrder(Kind, inputs, columns, names), columns: names };
}

/** The rows with their columns in the order of these names. */
function inOrder<A extends Float32Array | Uint8Array>(
  Kind: ArrayOf<A>,
  rows: ArrayLike<number>,
  columns: readonly string[],
  names: readonly string[],
): A {
  const from = names.map((name) => columns.indexOf(name));
  const moved = sharedArray(Kind, rows.length);
  for (let i = 0; i < moved.length; i++) {
    const column = i % columns.length;
    moved[i] = rows[i - column + from[column]];
  }
  return moved;
}

const same = (a: readonly string[], b: readonly string[]): boolean =>
  a === b || (a.length === b.length && a.every((name, i) => name === b[i]));
