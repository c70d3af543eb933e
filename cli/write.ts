import { readdir } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { ConfigError } from "../runtime/errors.js";
import { makeFolder, nodeFiles, writeWhole as write } from "../runtime/platform/node-files.js";
import { serial } from "../runtime/serial.js";

const { run: inTurn } = serial();

/**
 * Writes a file whole, or not at all. Writes are done one after the other, because two at a time to
 * one path would share the temporary file.
 */
export const writeWhole = (path: string, content: string | NodeJS.ArrayBufferView): Promise<void> =>
  inTurn(async () => {
    const bytes =
      typeof content === "string"
        ? Buffer.from(content)
        : new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
    try {
      await write(nodeFiles, dirname(path), basename(path), bytes);
    } catch (error) {
      // Not the name of the temporary file, of which nobody knows.
      if (error instanceof Error && "path" in error) error.path = path;
      throw error;
    }
  });

/** The same with a value as JSON. */
export const writeJson = (path: string, value: unknown): Promise<void> =>
  writeWhole(path, `${JSON.stringify(value, null, 2)}\n`);

/**
 * Makes sure of a new place: nothing is written over, and nothing is put beside what is not ours.
 * @param what a `folder`, which may be there as long as it is empty, or a `file`
 * @throws ConfigError `usage`
 */
export async function requireNew(flag: string, path: string, what: "file" | "folder") {
  const found = await readdir(path).catch((error: unknown) => codeOf(error));
  if (found === "ENOENT" || (what === "folder" && Array.isArray(found) && found.length === 0))
    return;
  const [wanted, got] =
    what === "file"
      ? ["a new file", Array.isArray(found) ? "a folder" : "there already"]
      : ["a new or empty folder", Array.isArray(found) ? "not empty" : "a file"];
  throw new ConfigError(
    "usage",
    `"${flag}" expected ${wanted}, got "${path}", which is ${got} (remove it, or name another)`,
  );
}

/** Writes new files by their paths, making the folders that they lie in. */
export async function writeFiles(
  files: readonly (readonly [path: string, content: string | NodeJS.ArrayBufferView])[],
): Promise<void> {
  for (const [path, content] of files) {
    makeFolder(dirname(path));
    await writeWhole(path, content);
  }
}

const codeOf = (error: unknown): unknown =>
  error instanceof Error && "code" in error ? error.code : undefined;

/** A field of CSV (RFC 4180). */
export const csvField = (text: string): string =>
  /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
