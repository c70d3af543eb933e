import { unexpected } from "./dataset.js";

/** What fits one string of V8. */
const MAX_BYTES = 2 ** 29 - 32;

/**
 * The text of a file in UTF-8, or in UTF-16 where a byte order mark says so (what spreadsheets call
 * "Unicode text").
 * @throws DataError `encoding` for other bytes, `too-large`
 */
export function textOf(source: string, bytes: Uint8Array): string {
  if (bytes.length > MAX_BYTES)
    throw unexpected(
      "too-large",
      source,
      "size",
      `at most ${MAX_BYTES} bytes of text (use NPZ for more)`,
      String(bytes.length),
    );
  const encoding = encodingOf(bytes);
  let text: string;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw unexpected(
      "encoding",
      source,
      "text",
      encoding === "utf-8" ? "UTF-8 (save it as such)" : "whole UTF-16, or UTF-8",
      "other bytes",
    );
  }
  // Only UTF-16 without a mark, or a binary file, has such letters.
  if (text.includes("\0"))
    throw unexpected("encoding", source, "text", "UTF-8 (save it as such)", "UTF-16 or no text");
  return text;
}

function encodingOf([first, second]: Uint8Array): "utf-8" | "utf-16le" | "utf-16be" {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  return first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
}
