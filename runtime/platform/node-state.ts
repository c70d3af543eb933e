import { join } from "node:path";
import { ConfigError } from "../errors.js";
import { LOCK, lock, privateFiles, TEMPORARY, writeWhole, type FileLayer } from "./node-files.js";
import { inWords } from "./system-errors.js";
import type { StateStore } from "./platform.js";

const NAME = /^[a-z0-9][a-z0-9.-]*$/;

/**
 * A folder as the client's store, one file per blob, for this process alone. A write is whole or
 * has not happened.
 * @throws ConfigError `state-locked` where another living process has the folder, `state-unusable`
 * where it cannot be used.
 */
export async function openStateFolder(
  folder: string,
  files: FileLayer = privateFiles,
): Promise<StateStore> {
  let unlock: () => Promise<void>;
  try {
    await files.makeFolder(folder);
    unlock = await lock(
      files,
      folder,
      (pid) =>
        `"state" expected a folder of this client's own, got ${folder}, which process ${pid} is using`,
    );
    for (const name of await files.list(folder))
      if (name.endsWith(TEMPORARY)) await files.remove(join(folder, name));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(
      "state-unusable",
      `"state" expected a folder that can be written, got ${inWords(error)}`,
      { cause: error },
    );
  }
  const checked = (name: string) => {
    if (!NAME.test(name) || name === LOCK)
      throw new TypeError(`"name" expected ${NAME}, got ${name}`);
    return name;
  };
  return {
    async get(name) {
      const bytes = await files.read(join(folder, checked(name)));
      return bytes && new Uint8Array(bytes);
    },
    put: async (name, bytes) => writeWhole(files, folder, checked(name), bytes),
    delete: async (name) => files.remove(join(folder, checked(name))),
    async list() {
      return (await files.list(folder)).filter(
        (name) => NAME.test(name) && name !== LOCK && !name.endsWith(TEMPORARY),
      );
    },
    close: () => unlock(),
  };
}
