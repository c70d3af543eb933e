import { rename, writeFile } from "node:fs/promises";

/** Writes a file whole, or not at all. */
export async function writeWhole(
  path: string,
  content: string | NodeJS.ArrayBufferView,
): Promise<void> {
  await writeFile(`${path}.new`, content);
  await rename(`${path}.new`, path);
}

/** The same with a value as JSON. */
export const writeJson = (path: string, value: unknown): Promise<void> =>
  writeWhole(path, `${JSON.stringify(value, null, 2)}\n`);

/** A field of CSV (RFC 4180). */
export const csvField = (text: string): string =>
  /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
