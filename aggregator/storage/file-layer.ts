import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * The few file operations that the durable ledger is made of. It is handed in, so that a test can
 * fail, shorten or cut off the power at every single one. Errors are those of Node: they have a
 * `code` such as ENOSPC.
 */
export interface FileLayer {
  /** The whole file, or nothing where there is none. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Bytes of a file; 0 where there is none. */
  size(path: string): Promise<number>;
  /** Names in a folder. */
  list(folder: string): Promise<string[]>;
  /** Makes the folder, and those above it where they are missing; durable when it resolves. */
  makeFolder(path: string): Promise<void>;
  /**
   * `create`: an empty file under that name; `exclusive`: only if there is none (EEXIST); `append`:
   * at its end.
   */
  open(path: string, how: "create" | "exclusive" | "append"): Promise<WritableFile>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes what happened to names in this folder durable. */
  syncFolder(path: string): Promise<void>;
}

export interface WritableFile {
  write(bytes: Uint8Array): Promise<void>;
  truncate(length: number): Promise<void>;
  /** Makes the file's bytes durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

const FLAGS = { create: "w", exclusive: "wx", append: "a" } as const;

export const nodeFiles: FileLayer = {
  async read(path) {
    try {
      return await readFile(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  },
  async size(path) {
    return (await stat(path).catch(() => undefined))?.size ?? 0;
  },
  list: (folder) => readdir(folder),
  makeFolder,
  async open(path, how) {
    const handle = await open(path, FLAGS[how]);
    return {
      async write(bytes) {
        // `write` may take less than it is given; `writeFile` on a handle goes on until all is
        // written.
        await handle.writeFile(bytes);
      },
      truncate: (length) => handle.truncate(length),
      sync: () => handle.sync(),
      close: () => handle.close(),
    };
  },
  rename,
  remove: (path) => rm(path, { force: true }),
  async syncFolder(path) {
    // Windows cannot open a folder, and needs no such call.
    if (process.platform === "win32") return;
    const handle = await open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

/**
 * The folder and those above it. Node's own `recursive` never ends where a file system refuses with
 * ENOENT (/proc).
 */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    const above = dirname(path);
    if (code !== "ENOENT" || above === path) throw error;
    await makeFolder(above);
    await mkdir(path);
  }
}

/**
 * A file that is there whole or not at all, whatever happens: temporary file, sync, rename, sync of
 * the folder.
 */
export async function writeWhole(
  files: FileLayer,
  folder: string,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  const temporary = `${folder}/.${name}.tmp`;
  const file = await files.open(temporary, "create");
  try {
    await file.write(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(temporary, `${folder}/${name}`);
  await files.syncFolder(folder);
}
