import { cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repository } from "../cli/command.js";

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
 * `fedflat` is this package, reached through its own exports, and each dependency named is the
 * repository's.
 */
export async function installed(
  name: string,
  dependencies: readonly string[] = [],
): Promise<Installed> {
  const folder = await mkdtemp(join(tmpdir(), `fedflat-${name}-`));
  const modules = join(folder, "node_modules");
  await cp(repository(`examples/${name}`), folder, { recursive: true });
  await mkdir(modules, { recursive: true });
  await symlink(repository(""), join(modules, "fedflat"), "dir");
  for (const dependency of dependencies)
    await symlink(repository(`node_modules/${dependency}`), join(modules, dependency), "dir");
  return {
    folder,
    path: (...names) => join(folder, ...names),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
