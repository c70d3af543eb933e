import { unexpected } from "./dataset.js";

const INTEGER = /^[+-]?\d+(\.0*)?$/;

/** More digits than that say nothing in a sentence. */
const shown = (text: string): string => JSON.stringify(text.slice(0, 40));

/** Up to ten names for a sentence. */
export const listed = (names: readonly string[]): string =>
  names.slice(0, 10).map(shown).join(", ") + (names.length > 10 ? ", ..." : "");

/** Whether the classes are numbers in order from 0: the data have no names. */
export const numbered = (classes: readonly string[]): boolean =>
  classes.every((name, i) => name === String(i));

/**
 * Whether a number can only be a place among these names: where names themselves are numbers in
 * another order ("1", "2", "3"), 2 could be either.
 */
export const countable = (names: readonly string[]): boolean =>
  names.every((name, i) => !/^\d+$/.test(name) || name === String(i));

/** The labels of a data set, with the names that they count. */
export interface Labels {
  readonly labels: ArrayLike<number>;
  readonly classes?: readonly string[];
  readonly alphabetical?: true;
}

/** What a label is, where it turned out to be a measurement. */
export const A_CLASS = "a class, which is a whole number or a name and no measurement";

/**
 * Classes of label texts among names that are known: by name, else whole numbers as they are.
 * @param where the place of label i, for the error's sentence
 * @throws DataError `label` for none of the names
 */
export function namedLabels(
  source: string,
  texts: readonly string[],
  where: (i: number) => string,
  names: readonly string[],
): Labels {
  const places = new Map(names.map((name, i) => [name, i]));
  const unknown = texts.findIndex((text) => !places.has(text));
  if (unknown < 0) return { labels: texts.map((text) => places.get(text)!), classes: names };
  if (countable(names) && texts.every((text) => INTEGER.test(text)))
    return { labels: texts.map(Number), classes: names };
  const expected = `one of the class names ${listed(names)}`;
  throw unexpected("label", source, where(unknown), expected, shown(texts[unknown]));
}

/**
 * Classes of label texts as readers find them: among names where they are known, else whole numbers
 * as they are, else texts in alphabetical order.
 * @param where the place of label i, for the error's sentence
 * @throws DataError `label` for an empty label, a fraction, numbers among texts, or none of the names
 */
export function labelsOf(
  source: string,
  texts: readonly string[],
  where: (i: number) => string,
  names?: readonly string[],
): Labels {
  const refuse = (i: number, expected: string) =>
    unexpected("label", source, where(i), expected, shown(texts[i]));
  const empty = texts.indexOf("");
  if (empty >= 0)
    throw unexpected("label", source, where(empty), "a class, by number or name", "nothing");
  if (names) return namedLabels(source, texts, where, names);
  if (texts.every((text) => INTEGER.test(text))) return { labels: texts.map(Number) };

  const numeric = texts.map(isNumber);
  const numbers = numeric.filter(Boolean).length;
  if (numbers === texts.length)
    throw refuse(
      texts.findIndex((text) => !INTEGER.test(text)),
      `${A_CLASS} (--target COLUMN learns measurements, --label COLUMN has classes elsewhere)`,
    );
  if (numbers > 0) {
    const fewer = numbers < texts.length - numbers;
    throw refuse(
      numeric.indexOf(fewer),
      `a ${fewer ? "name" : "number"} like most labels (classes.txt can name classes of both kinds)`,
    );
  }
  const classes = [...new Set(texts)].sort();
  const sorted = new Map(classes.map((name, i) => [name, i]));
  return { labels: texts.map((text) => sorted.get(text)!), classes, alphabetical: true };
}

/** Whole numbers as they are, else texts numbered in sorted order. */
export function groupNumbers(groups: readonly string[]): number[] {
  if (groups.every((group) => INTEGER.test(group))) return groups.map(Number);
  const numbers = new Map([...new Set(groups)].sort().map((name, i) => [name, i]));
  return groups.map((group) => numbers.get(group)!);
}

/** Whether a field is a number; NaN is none. */
export const isNumber = (field: string): boolean =>
  field.trim() !== "" && !Number.isNaN(Number(field));
