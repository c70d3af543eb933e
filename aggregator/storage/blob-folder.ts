import { writeWhole, type FileLayer } from "../../runtime/platform/node-files.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { Blob, CommitRecord } from "./ledger.js";

/** Blobs in a folder, each under its SHA-256. */
export interface BlobFolder {
  readonly path: string;
  /** Writes a blob; it is durable, or not there. */
  put(blob: Blob): Promise<void>;
  /** A blob, where it is there and sound. */
  read(this: void, sha256: string): Promise<Blob | undefined>;
  /** Names of the blobs that are whole. */
  names(): Promise<string[]>;
  /**
   * Drops the blobs that none of the last `kept` commits names, and what half-written ones left.
   * Returns those that no commit names.
   */
  sweep(commits: readonly CommitRecord[], kept: number): Promise<string[]>;
}

export function openBlobFolder(path: string, files: FileLayer): BlobFolder {
  return {
    path,
    put: ({ sha256, bytes }) => writeWhole(files, path, sha256, bytes),
    async read(sha256) {
      const bytes = await files.read(`${path}/${sha256}`);
      return bytes && sha256Hex(bytes) === sha256 ? { sha256, bytes } : undefined;
    },
    names: async () => (await files.list(path)).filter((name) => !name.startsWith(".")),
    async sweep(commits, kept) {
      const namesOf = (some: readonly CommitRecord[]) =>
        new Set(some.flatMap(({ model, state }) => [model, state]));
      const needed = namesOf(commits.slice(-kept));
      const known = namesOf(commits);
      const unknown: string[] = [];
      for (const name of await files.list(path)) {
        if (needed.has(name)) continue;
        if (!known.has(name) && !name.startsWith(".")) unknown.push(name);
        await files.remove(`${path}/${name}`);
      }
      return unknown;
    },
  };
}
