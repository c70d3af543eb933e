import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { repository } from "../cli/command.js";
import { emptyProject, packInto, unpackInto, type PackageName } from "./packed.js";

const { folder, remove } = emptyProject("contents");
after(remove);
const tarballs = packInto(folder);
unpackInto(folder, tarballs);
const NAMES: readonly PackageName[] = ["fedflat", "fedflat-cli", "create-fedflat"];

const filesOf = (name: string): string[] =>
  readdirSync(join(folder, "node_modules", name), { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, "node_modules", name, file))
    .filter((file) => statSync(file).isFile());

const manifestOf = (name: PackageName) =>
  JSON.parse(readFileSync(join(folder, "node_modules", name, "package.json"), "utf8")) as Readonly<
    Record<string, unknown>
  >;

for (const name of NAMES) {
  test(`publint has nothing to say about ${name}`, async () => {
    const bytes = readFileSync(tarballs[name]);
    const tarball = new Uint8Array(bytes).buffer;
    const { messages, pkg } = await publint({ pack: { tarball }, strict: true });
    assert.deepEqual(
      messages.map((message) => formatMessage(message, pkg, { color: false })),
      [],
    );
  });

  test(`what npm shows of ${name} is complete`, () => {
    const manifest = manifestOf(name);
    for (const field of [
      ...["description", "keywords", "license", "homepage", "bugs", "repository", "engines"],
      ...["version", "publishConfig"],
    ])
      assert.ok(manifest[field], field);
    assert.equal(manifest["private"], undefined);
    const files = filesOf(name).map((file) => file.slice(join(folder, "node_modules").length));
    for (const file of ["README.md", "LICENSE"])
      assert.ok(files.includes(`/${name}/${file}`), file);
  });

  test(`no file of ${name} names a source map that is not there`, () => {
    for (const file of filesOf(name).filter((file) => /\.(js|css|d\.ts)$/.test(file)))
      assert.doesNotMatch(readFileSync(file, "utf8"), /[#@] sourceMappingURL=(?!data:)/, file);
  });

  test(`every relative import in ${name} leads to a file of it`, () => {
    const missing: string[] = [];
    for (const file of filesOf(name).filter((file) => /\/dist\/.*(\.js|\.d\.ts)$/.test(file)))
      for (const [, target] of readFileSync(file, "utf8").matchAll(
        /\b(?:from |import |import\()"(\.\.?\/[^"]+)"/g,
      )) {
        const path = join(file, "..", target);
        const seen = statSync(path, { throwIfNoEntry: false })?.isFile() === true;
        if (!seen) missing.push(`${file} -> ${target}`);
      }
    assert.deepEqual(missing, []);
  });
}

test("fedflat and what it needs beside tfjs take less than 3 MB", () => {
  const { dependencies } = manifestOf("fedflat") as { dependencies: Record<string, string> };
  assert.deepEqual(Object.keys(dependencies), ["ws"]);
  const files = [filesOf("fedflat"), filesOf("ws")].flat();
  const size = files.reduce((sum, file) => sum + statSync(file).size, 0);
  assert.ok(size < 3e6, `${size} bytes`);
});

test("the types of fedflat resolve wherever ES modules do", async () => {
  const checked = await checkPackage(
    createPackageFromTarballData(new Uint8Array(readFileSync(tarballs.fedflat))),
  );
  assert.ok(checked.types, "no types in the package");
  // Neither `require` nor the resolution from before Node 12 is promised.
  const promised = checked.problems.filter(
    (problem) =>
      problem.kind !== "CJSResolvesToESM" &&
      !("resolutionKind" in problem && problem.resolutionKind === "node10"),
  );
  assert.deepEqual(promised, []);
});

test("fedflat-cli depends on exactly the version of fedflat that it was packed with", () => {
  const { dependencies } = manifestOf("fedflat-cli") as { dependencies: Record<string, string> };
  assert.equal(dependencies["fedflat"], manifestOf("fedflat")["version"]);
});

test("every file is formatted", () => {
  const prettier = repository("node_modules/prettier/bin/prettier.cjs");
  const argv = [prettier, "--check", ".", "--log-level", "warn"];
  const checked = spawnSync(process.execPath, argv, { cwd: repository(""), encoding: "utf8" });
  assert.equal(checked.status, 0, checked.stderr);
});

test("the lockfile names no registry, so that any mirror serves", () => {
  const lock = readFileSync(repository("package-lock.json"), "utf8");
  assert.doesNotMatch(lock, /"resolved": "(https?|git)/);
});
