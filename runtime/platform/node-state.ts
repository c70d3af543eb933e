import { randomBytes } from "node:crypto";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../errors.js";
import type { StateStore } from "./platform.js";

const NAME = /^[a-z0-9][a-z0-9.-]*$/;
const LOCK = "lock";
const TEMPORARY = ".tmp";

/**
 * A folder as the client's store, one file per blob, for this process alone. A write goes to a temporary file, is synced,
 * renamed over the old one, and the folder is synced.
 * @throws ConfigError `state-locked` where another living process has the folder, `state-unusable` where it cannot be used.
 */
export async function openStateFolder(folder: string): Promise<StateStore> {
  try {
    await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    await lock(folder);
    for (const name of await fs.readdir(folder))
      if (name.endsWith(TEMPORARY)) await fs.rm(join(folder, name));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(
      "state-unusable",
      `"state" expected a folder that can be written, got ${(error as Error).message}`,
      { cause: error },
    );
  }
  const path = (name: string) => {
    if (!NAME.test(name) || name === LOCK)
      throw new TypeError(`"name" expected ${NAME}, got ${name}`);
    return join(folder, name);
  };
  return {
    async get(name) {
      try {
        return new Uint8Array(await fs.readFile(path(name)));
      } catch (error) {
        if (isCode(error, "ENOENT")) return undefined;
        throw error;
      }
    },
    async put(name, bytes) {
      const target = path(name);
      try {
        await writeSynced(target + TEMPORARY, bytes);
        await fs.rename(target + TEMPORARY, target);
      } catch (error) {
        // A full disk is no reason to leave half a file on it.
        await fs.rm(target + TEMPORARY, { force: true });
        throw error;
      }
      await syncFolder(folder);
    },
    async delete(name) {
      await fs.rm(path(name), { force: true });
    },
    async list() {
      return (await fs.readdir(folder)).filter(
        (name) => NAME.test(name) && name !== LOCK && !name.endsWith(TEMPORARY),
      );
    },
    async close() {
      await fs.rm(join(folder, LOCK), { force: true });
    },
  };
}

async function writeSynced(path: string, bytes: string | Uint8Array): Promise<void> {
  const file = await fs.open(path, "w", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open a folder; there the rename is all there is.
  if (process.platform === "win32") return;
  const handle = await fs.open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Takes the lock file, which names its holder. Made by a hard link, so that it is never there
 * without its content. A holder that no longer lives (also: another process of the same number, or
 * before a reboot) has lost it.
 */
async function lock(folder: string): Promise<void> {
  const target = join(folder, LOCK);
  const own = `${target}.${process.pid}.${randomBytes(4).toString("hex")}${TEMPORARY}`;
  await fs.writeFile(own, `${process.pid} ${await lifeOf(process.pid)}`);
  try {
    for (;;) {
      try {
        return await fs.link(own, target);
      } catch (error) {
        if (!isCode(error, "EEXIST")) throw error;
      }
      const holder = await fs.readFile(target, "utf8").catch(() => undefined);
      if (holder === undefined) continue;
      const [pid, ...life] = holder.split(" ");
      if ((await lifeOf(Number(pid))) === life.join(" "))
        throw new ConfigError(
          "state-locked",
          `"state" expected a folder of this client's own, got ${folder}, which process ${pid} is using`,
        );
      await removeStale(target, holder);
    }
  } finally {
    await fs.rm(own, { force: true });
  }
}

/** Removes the lock of a dead holder, but not one that another starter has put there since. */
async function removeStale(target: string, holder: string): Promise<void> {
  const aside = `${target}.stale.${process.pid}${TEMPORARY}`;
  try {
    await fs.rename(target, aside);
  } catch (error) {
    if (isCode(error, "ENOENT")) return;
    throw error;
  }
  if ((await fs.readFile(aside, "utf8")) !== holder) await fs.link(aside, target).catch(() => {});
  await fs.rm(aside, { force: true });
}

/**
 * What tells this process from a later one of the same number; undefined where no such process
 * lives.
 */
async function lifeOf(pid: number): Promise<string | undefined> {
  if (!Number.isSafeInteger(pid) || pid < 1) return undefined;
  if (process.platform === "linux")
    try {
      const boot = await fs.readFile("/proc/sys/kernel/random/boot_id", "utf8");
      const stat = await fs.readFile(`/proc/${pid}/stat`, "utf8");
      // Field 22, counted behind the name, which may hold blanks: when the process was started.
      const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
      return `${boot.trim()} ${started}`;
    } catch (error) {
      if (isCode(error, "ENOENT") || isCode(error, "ESRCH")) return undefined;
    }
  try {
    process.kill(pid, 0);
    return "alive";
  } catch (error) {
    return isCode(error, "EPERM") ? "alive" : undefined;
  }
}

const isCode = (error: unknown, code: string) =>
  error instanceof Error && "code" in error && error.code === code;
