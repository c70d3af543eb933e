import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repository } from "../cli/command.js";
import { packInto, unpackInto } from "../packages/packed.js";

/**
 * An example's folder, copied out of the repository with its dependencies beside it, as a user has
 * it.
 */
export interface Installed {
  readonly folder: string;
  /** A path in it. */
  path(...names: string[]): string;
  remove(): Promise<void>;
}

/**
 * Copies `examples/NAME` to a temporary folder. What it imports is found as after `npm install`:
 * the packages are unpacked from their tarballs, and each dependency named is the repository's.
 */
export async function installed(
  name: string,
  dependencies: readonly string[] = [],
): Promise<Installed> {
  const folder = await mkdtemp(join(tmpdir(), `fedflat-${name}-`));
  await cp(repository(`examples/${name}`), folder, { recursive: true });
  const tarballs = await mkdtemp(join(tmpdir(), "fedflat-tarballs-"));
  unpackInto(folder, packInto(tarballs), dependencies);
  await rm(tarballs, { recursive: true });
  return {
    folder,
    path: (...names) => join(folder, ...names),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
