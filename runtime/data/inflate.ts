import { DataError } from "../errors.js";

/** Most bytes that one compressed file may grow to, unless the caller says otherwise (1 GiB). */
export const INFLATE_LIMIT = 2 ** 30;

/** Whether the bytes begin like a gzip file (RFC 1952). */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/**
 * Unpacks gzip (RFC 1952) or raw deflate (RFC 1951), with the platform's own DecompressionStream.
 * Memory is taken as output arrives, never on the word of a header.
 * @param source the file's name, for the error's sentence
 * @param limit most bytes of output
 * @throws DataError `truncated`, `corrupt`, `too-large`
 */
export async function inflate(
  source: string,
  bytes: Uint8Array,
  format: "gzip" | "deflate-raw",
  limit = INFLATE_LIMIT,
): Promise<Uint8Array> {
  const stream = new DecompressionStream(format);
  const writer = stream.writable.getWriter();
  // The reading side reports what goes wrong; here the same error must only not go unhandled.
  const written = writer
    .write(bytes as Uint8Array<ArrayBuffer>)
    .then(() => writer.close())
    .catch(() => undefined);

  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = stream.readable.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw broken(source, format, error);
    });
    if (done) break;
    chunks.push(value);
    length += value.length;
    if (length > limit) {
      // The limit is the error to report; a failing cancel does not matter.
      await reader.cancel().catch(() => undefined);
      throw new DataError(
        "too-large",
        `"${source}" unpacked expected at most ${limit} bytes, got more (a limit against decompression bombs)`,
      );
    }
  }
  await written;

  const out = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

function broken(source: string, format: string, cause: unknown): DataError {
  // Node says "unexpected end of file", from 22 on in the cause of an error that says nothing;
  // browsers have words of their own.
  const error = cause instanceof Error && cause.message === "" ? cause.cause : cause;
  const detail = error instanceof Error ? error.message : String(error);
  return /end of file|truncat|incomplete|missing/i.test(detail)
    ? new DataError(
        "truncated",
        `"${source}" expected whole ${format} data, got one that ends early (${detail})`,
        { cause },
      )
    : new DataError(
        "corrupt",
        `"${source}" expected ${format} data, got something else (${detail})`,
        { cause },
      );
}
