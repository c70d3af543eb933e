import { makeDataset, sharedArray, unexpected, type Dataset } from "./dataset.js";

/** A text, and what it is called. */
export interface NamedText {
  readonly source: string;
  readonly text: string;
}

/** More characters than that are no alphabet: a binary file, or a language of other units. */
const MAX_VOCABULARY = 10_000;

/**
 * Windows over the characters of texts, each compared with the characters one place further: the
 * data set of a model that predicts the next one. Each text is a group, and no window goes over its
 * end.
 * @param vocabulary the characters in the order of their numbers; left out: those of the texts, sorted
 * @throws DataError `vocabulary` for a character that is none of them or too many, `count` where
 * every text is shorter than a window and one character
 */
export function readCharacters(
  texts: readonly NamedText[],
  options: {
    readonly window: number;
    readonly stride?: number;
    readonly vocabulary?: readonly string[];
  },
): Dataset {
  const { window, stride = window } = options;
  const all = texts.map(({ text }) => [...text]);
  const vocabulary =
    options.vocabulary ?? [...new Set(all.flatMap((one) => [...new Set(one)]))].sort();
  const source = texts.length === 1 ? texts[0].source : `${texts.length} texts`;
  if (vocabulary.length > MAX_VOCABULARY)
    throw unexpected(
      "vocabulary",
      source,
      "characters",
      `at most ${MAX_VOCABULARY} different ones`,
      String(vocabulary.length),
    );
  const numbers = new Map(vocabulary.map((character, i) => [character, i]));
  const length = all.reduce((sum, one) => sum + one.length, 0);
  const tokens =
    vocabulary.length <= 256 ? sharedArray(Uint8Array, length) : sharedArray(Float32Array, length);
  const first: number[] = [];
  const series: number[] = [];
  let at = 0;
  all.forEach((characters, i) => {
    characters.forEach((character, j) => {
      const number = numbers.get(character);
      if (number === undefined)
        throw unexpected(
          "vocabulary",
          texts[i].source,
          `character ${j}`,
          `one of the model's ${vocabulary.length}`,
          JSON.stringify(character),
        );
      tokens[at + j] = number;
    });
    for (let from = 0; from + window < characters.length; from += stride) {
      first.push(at + from);
      series.push(i);
    }
    at += characters.length;
  });
  if (first.length === 0)
    throw unexpected(
      "count",
      source,
      "characters",
      `at least ${window + 1} for windows of ${window}`,
      String(length),
    );
  const shared = (shift: number) => {
    const starts = sharedArray(Uint32Array, first.length);
    first.forEach((start, i) => (starts[i] = start + shift));
    return starts;
  };
  const dataset = makeDataset(source, {
    shape: [window],
    inputs: tokens,
    starts: shared(0),
    targets: { kind: "classes", size: window, values: tokens, starts: shared(1) },
    groups: series,
  });
  return {
    ...dataset,
    vocabulary,
    windows: { span: window + 1, series: Uint32Array.from(series) },
  };
}
