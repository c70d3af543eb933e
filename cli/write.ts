import { basename, dirname } from "node:path";
import { nodeFiles, writeWhole as write } from "../runtime/platform/node-files.js";
import { serial } from "../runtime/serial.js";

const { run: inTurn } = serial();

/**
 * Writes a file whole, or not at all. Writes are done one after the other, because two at a time to
 * one path would share the temporary file.
 */
export const writeWhole = (path: string, content: string | NodeJS.ArrayBufferView): Promise<void> =>
  inTurn(() =>
    write(
      nodeFiles,
      dirname(path),
      basename(path),
      typeof content === "string"
        ? Buffer.from(content)
        : new Uint8Array(content.buffer, content.byteOffset, content.byteLength),
    ),
  );

/** The same with a value as JSON. */
export const writeJson = (path: string, value: unknown): Promise<void> =>
  writeWhole(path, `${JSON.stringify(value, null, 2)}\n`);

/** A field of CSV (RFC 4180). */
export const csvField = (text: string): string =>
  /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
