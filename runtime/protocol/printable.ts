// Text of others can hold what a terminal obeys (escape sequences), what turns the direction of
// reading (so that a line shows other words than it holds), and line breaks (so that one line looks
// like two).

/**
 * Control characters, those of C1 too, line and paragraph separators, marks of direction, and what
 * takes no room: two texts that read alike could differ in it.
 */
const HIDDEN =
  /[\p{Cc}\u2028\u2029\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;

/** A text of others as it may reach a terminal, a log or a page: on one line, as it reads. */
export const printable = (text: string): string => text.replace(HIDDEN, "\ufffd");

/** The same for a text of several lines that are ours. */
export const printableLines = (text: string): string => text.split("\n").map(printable).join("\n");

/** JSON in which nothing is hidden, and that says the same. */
export const printableJson = (json: string): string =>
  json.replace(HIDDEN, (character) =>
    character
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join(""),
  );
