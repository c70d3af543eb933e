import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { repository } from "./cli/command.js";

const page = readFileSync(repository("CONTRIBUTING.md"), "utf8");

test("CONTRIBUTING.md names files that there are", () => {
  const named = [...page.matchAll(/`([\w./-]+\/[\w.-]+\.(?:ts|md)|\.ci\/run)`/g)];
  assert.ok(named.length > 20);
  for (const [, file] of named)
    if (!file.includes("NAME")) assert.ok(existsSync(repository(file)), file);
});

test("CONTRIBUTING.md names npm scripts that there are", () => {
  const { scripts } = JSON.parse(readFileSync(repository("package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  for (const [, name] of page.matchAll(/npm run ([\w:-]+)/g)) assert.ok(name in scripts, name);
});
