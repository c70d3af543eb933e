import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { repository } from "../cli/command.js";

export type PackageName = "fedflat" | "fedflat-cli" | "create-fedflat";

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** The tarballs of all packages, made in a folder. */
export function packInto(folder: string): Readonly<Record<PackageName, string>> {
  const argv = [repository("scripts/pack.mjs"), folder];
  const output = execFileSync(process.execPath, argv, { encoding: "utf8" });
  const [fedflat, cli, create] = output.trim().split("\n");
  return { fedflat, "fedflat-cli": cli, "create-fedflat": create };
}

/**
 * Unpacks tarballs into `folder/node_modules` as npm would, without the registry: each dependency
 * that a package names is a link to the repository's copy, so what a package forgets to name is
 * missing.
 * @param extra packages that the folder's own package.json would name
 */
export function unpackInto(
  folder: string,
  tarballs: Readonly<Partial<Record<PackageName, string>>>,
  extra: readonly string[] = [],
): void {
  const modules = join(folder, "node_modules");
  const linked = new Set(extra);
  for (const [name, tarball] of Object.entries(tarballs)) {
    const target = join(modules, name);
    mkdirSync(target, { recursive: true });
    execFileSync("tar", ["-xzf", tarball, "-C", target, "--strip-components=1"]);
    const manifest = JSON.parse(readFileSync(join(target, "package.json"), "utf8")) as Manifest;
    for (const needed of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }))
      linked.add(needed);
  }
  for (const name of linked) {
    if (name in tarballs) continue;
    const link = join(modules, name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(repository(`node_modules/${name}`), link, "dir");
  }
}

/** An empty folder with a package.json, as a newcomer has it. */
export function emptyProject(name: string): { readonly folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), `fedflat-${name}-`));
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
