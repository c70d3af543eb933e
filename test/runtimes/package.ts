import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { repository } from "../cli/command.js";

const run = promisify(execFile);

/**
 * A new folder with the packed package in its node_modules, as it comes from the registry, and what
 * it needs beside it; and with these files.
 */
export async function projectWith(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-runtimes-"));
  const modules = join(folder, "node_modules");
  await mkdir(join(modules, "fedflat"), { recursive: true });
  const { stdout } = await run(
    "npm",
    ["pack", "--silent", "--ignore-scripts", "--pack-destination", folder],
    { cwd: repository("") },
  );
  await run("tar", [
    ...["-xzf", join(folder, stdout.trim())],
    ...["-C", join(modules, "fedflat"), "--strip-components", "1"],
  ]);
  await cp(repository("node_modules/valibot"), join(modules, "valibot"), { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(folder, name, ".."), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return folder;
}

/** Puts packages of the repository's, or a scope of them, in reach of a project's programs. */
export async function link(project: string, ...names: readonly string[]): Promise<void> {
  for (const name of names)
    await symlink(repository(`node_modules/${name}`), join(project, "node_modules", name), "dir");
}
