import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ConfigError } from "../errors.js";

/**
 * The few file operations that durable state is made of. It is handed in, so that a test can fail,
 * shorten or cut off the power at every single one. Errors are those of Node: they have a `code`
 * such as ENOSPC.
 */
export interface FileLayer {
  /** The whole file, or nothing where there is none. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Bytes of a file; 0 where there is none. */
  size(path: string): Promise<number>;
  /** Names in a folder. */
  list(folder: string): Promise<string[]>;
  /** Makes the folder, and those above it where they are missing. */
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

/** Node's own calls, as they are. The modes are those of new files and folders. */
const nodeCalls = (fileMode?: number, folderMode?: number): FileLayer => ({
  async read(path) {
    try {
      return await readFile(path);
    } catch (error) {
      if (isCode(error, "ENOENT")) return undefined;
      throw error;
    }
  },
  async size(path) {
    return (await stat(path).catch(() => undefined))?.size ?? 0;
  },
  list: (folder) => readdir(folder),
  makeFolder: async (path) => makeFolder(path, folderMode),
  async open(path, how) {
    const handle = await open(path, FLAGS[how], fileMode);
    return {
      async write(bytes) {
        // `write` may take less than it is given; `writeFile` on a handle continues until all is
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
});

/**
 * Makes the folder, and those above it where they are missing. Node's own `recursive` never ends
 * where a file system refuses with ENOENT (/proc).
 */
export function makeFolder(path: string, mode?: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (isCode(error, "EEXIST") && statSync(path).isDirectory()) return;
    const above = dirname(path);
    if (!isCode(error, "ENOENT") || above === path) throw error;
    makeFolder(above, mode);
    mkdirSync(path, { mode });
  }
}

/** Milliseconds between tries at a name that another program holds; together about a second. */
const PATIENCE = [10, 20, 40, 80, 160, 320, 400];

/**
 * The same files, where the file system does less than POSIX asks of it:
 *
 * - A rename or removal that is refused because another program has the file open, as Windows does
 *   under a virus scanner, is tried again for about a second.
 * - A folder that cannot be synced (SMB, several FUSE mounts) is passed over, and `note` is told so
 *   once. That the disk fails (EIO) is never passed over.
 */
export function tolerant(files: FileLayer, note: (sentence: string) => void): FileLayer {
  let noted = false;
  async function again(work: () => Promise<void>): Promise<void> {
    for (const pause of PATIENCE)
      try {
        return await work();
      } catch (error) {
        if (!isCode(error, "EPERM", "EACCES", "EBUSY")) throw error;
        await sleep(pause);
      }
    return work();
  }
  return {
    ...files,
    rename: (from, to) => again(() => files.rename(from, to)),
    remove: (path) => again(() => files.remove(path)),
    async syncFolder(path) {
      try {
        await files.syncFolder(path);
      } catch (error) {
        if (!isCode(error, "EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF")) throw error;
        if (!noted)
          note(
            `"${path}" is on a file system that cannot sync folders: what is written there in the last seconds before a power cut may be lost`,
          );
        noted = true;
      }
    },
  };
}

let warned = false;
function warn(sentence: string): void {
  if (!warned) process.emitWarning(sentence, { code: "FEDFLAT_FOLDER_SYNC" });
  warned = true;
}

/** Node's files. */
export const nodeFiles: FileLayer = tolerant(nodeCalls(), warn);

/** Node's files; what is made is for this user alone. */
export const privateFiles: FileLayer = tolerant(nodeCalls(0o600, 0o700), warn);

/** How temporary files end; one that a crash left may be removed. */
export const TEMPORARY = ".tmp";

/**
 * A file that is there whole or not at all, whatever happens: temporary file, sync, rename, sync of
 * the folder. Where it fails, the temporary file is removed, since a full disk has no room for it.
 */
export async function writeWhole(
  files: FileLayer,
  folder: string,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  const temporary = `${folder}/.${name}${TEMPORARY}`;
  try {
    const file = await files.open(temporary, "create");
    try {
      await file.write(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporary, `${folder}/${name}`);
  } catch (error) {
    await files.remove(temporary).catch(() => {});
    throw error;
  }
  await files.syncFolder(folder);
}

/** The name of a folder's lock file. */
export const LOCK = "lock";

/** Tells this thread from every other that ever lived in a process of this id. */
const SELF = randomBytes(8).toString("hex");

/** Folders that this thread has locked or is about to lock, by file layer. */
const held = new WeakMap<FileLayer, Set<string>>();

/** Times that a lock in the way is looked at before the folder counts as one that cannot be used. */
const TRIES = 20;

/**
 * Locks a folder for this thread: a file `lock` in it, made by an exclusive open (hard links are
 * not everywhere), that names process, life and thread. The lock of a process that lives no longer
 * is taken over.
 * @param refusal the sentence for a folder that the living process of that id has
 * @returns unlocks it
 * @throws ConfigError `state-locked`; Node's errors where the folder cannot be written
 */
export async function lock(
  files: FileLayer,
  folder: string,
  refusal: (pid: number) => string,
): Promise<() => Promise<void>> {
  const path = `${folder}/${LOCK}`;
  const key = resolve(folder);
  const ours = held.get(files) ?? new Set();
  held.set(files, ours);
  if (ours.has(key)) throw new ConfigError("state-locked", refusal(process.pid));
  ours.add(key);
  const text = `${process.pid} ${lifeOf(process.pid)} ${SELF}\n`;
  try {
    for (let tries = 1; !(await isTaken()); tries++) {
      let found = await textOf(files, path);
      if (!found.endsWith("\n")) {
        // It is perhaps being written. Still not whole a moment later, a crash left it.
        await sleep(SETTLE);
        found = await textOf(files, path);
      }
      const pid = livingHolder(found);
      if (pid !== undefined) throw new ConfigError("state-locked", refusal(pid));
      if (tries === TRIES) throw new Error(`"${path}" expected to be removable, got it back`);
      await takeAway(found);
    }
  } catch (error) {
    ours.delete(key);
    throw error;
  }
  return async () => {
    ours.delete(key);
    if ((await textOf(files, path)) === text) await files.remove(path);
  };

  /** Puts our lock there if there is none. */
  async function isTaken(): Promise<boolean> {
    // Another process that met the file before its text was in it may have taken it for a crash's.
    return (await create(files, path, text)) && (await textOf(files, path)) === text;
  }

  /** Removes the lock with that text, but not one that another starter has put there since. */
  async function takeAway(stale: string): Promise<void> {
    const guard = `${path}.taking${TEMPORARY}`;
    if (!(await create(files, guard, text))) {
      await sleep(SETTLE);
      // A crash may have left this one too.
      if (livingHolder(await textOf(files, guard)) === undefined) await files.remove(guard);
      return;
    }
    try {
      if ((await textOf(files, path)) === stale) await files.remove(path);
    } finally {
      await files.remove(guard);
    }
  }
}

/** Milliseconds after which a lock's text is whole. */
const SETTLE = 50;

/** A small file's text; empty where there is none. */
const textOf = async (files: FileLayer, path: string): Promise<string> =>
  new TextDecoder().decode((await files.read(path)) ?? new Uint8Array());

/**
 * The process that a lock's text names, if it lives. What this thread wrote itself it left behind:
 * the folders that it has are known.
 */
function livingHolder(text: string): number | undefined {
  const [pid, boot, started, thread] = text.trim().split(/\s+/);
  const isWhole = text.endsWith("\n");
  return isWhole && thread !== SELF && lives(Number(pid), `${boot} ${started}`)
    ? Number(pid)
    : undefined;
}

/** Makes a file with that text; false where there is one of that name. */
async function create(files: FileLayer, path: string, text: string): Promise<boolean> {
  let file: WritableFile;
  try {
    file = await files.open(path, "exclusive");
  } catch (error) {
    if (isCode(error, "EEXIST")) return false;
    throw error;
  }
  try {
    await file.write(new TextEncoder().encode(text));
  } catch (error) {
    await files.remove(path).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
  return true;
}

/** What a system without /proc says of a process's life. */
const UNKNOWN = "- -";

/** Whether the process of that id lives, and is the one that began at that boot and moment. */
function lives(pid: number, life: string): boolean {
  const now = lifeOf(pid);
  return now !== undefined && (now === UNKNOWN || now === life);
}

/**
 * Boot and moment of the start of a process, where the system tells (Linux): they tell it from a
 * later one of the same id. Undefined where there is no such process.
 */
function lifeOf(pid: number): string | undefined {
  if (!Number.isSafeInteger(pid) || pid < 1) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!isCode(error, "EPERM")) return undefined;
  }
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const about = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The 20th field behind the name, which is in brackets and may hold anything
    // (proc_pid_stat(5)).
    const fields = about.slice(about.lastIndexOf(")") + 2).split(" ");
    return `${boot} ${fields[19]}`;
  } catch {
    return UNKNOWN;
  }
}

const isCode = (error: unknown, ...codes: readonly string[]): boolean =>
  error instanceof Error && "code" in error && codes.includes(String(error.code));
