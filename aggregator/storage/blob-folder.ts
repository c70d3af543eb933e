import { writeWhole, type FileLayer } from "../../runtime/platform/node-files.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import { storageError } from "./disk.js";
import type { Blob, CommitRecord } from "./ledger.js";

/** Blobs in a folder, each under its SHA-256. */
export interface BlobFolder {
  readonly path: string;
  /**
   * Writes a blob; it is durable, or not there.
   * @throws FedflatError `storage-full`, `storage-failed`
   */
  put(blob: Blob): Promise<void>;
  /** A blob, where it is there and sound. */
  read(sha256: string): Promise<Blob | undefined>;
  /** Names of the blobs that are whole. */
  names(): Promise<string[]>;
  /**
   * Drops the blobs that none of the last `kept` commits names, and what half-written ones left.
   * Returns those that no commit names.
   */
  sweep(commits: readonly CommitRecord[], kept: number): Promise<string[]>;
}

/** The folder `blobs` of a ledger's. */
export function openBlobFolder(folder: string, files: FileLayer): BlobFolder {
  const path = `${folder}/blobs`;
  return {
    path,
    async put({ sha256, bytes }) {
      try {
        await writeWhole(files, path, sha256, bytes);
      } catch (error) {
        // Nothing names the blob yet, so the ledger is sound; but a disk that fails is not to be
        // trusted.
        const sentence = `"${path}" cannot be written (${(error as Error).message})`;
        throw storageError(folder, error, sentence);
      }
    },
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
