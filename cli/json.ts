import { printable } from "../runtime/protocol/printable.js";

/** Characters that are in no JSON text: controls, and what takes the place of bytes that are no text. */
const NO_TEXT = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]/;

/**
 * The value of a JSON text that somebody else wrote.
 * @param wrong makes the error of what is wrong with it, in words that repeat no bytes that are not text
 */
export function parseJson(text: string, wrong: (got: string) => Error): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw wrong(
      NO_TEXT.test(text) ? "bytes that are no text" : printable((error as Error).message),
    );
  }
}
