import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { NAMES, type CommandName } from "../../cli/flags.js";
import { addOptions } from "../../cli/settings.js";
import { repository } from "../cli/command.js";

const files = [
  "README.md",
  "CONTRIBUTING.md",
  ...readdirSync(repository("examples")).map((name) => `examples/${name}/README.md`),
  "cli/README.md",
  "cli/create/README.md",
  ...readdirSync(repository("docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md") && !name.startsWith("api"))
    .map((name) => `docs/${name}`),
].filter((file) => existsSync(repository(file)));

const isCommand = (name: string): name is CommandName =>
  (NAMES as readonly string[]).includes(name);

/** Flags of a command. */
function flagsOf(name: CommandName): readonly string[] {
  const command = new Command(name);
  addOptions(command, name);
  return command.options.map(({ long }) => String(long));
}

/** The names under which the headings of a page can be linked to, as GitHub makes them. */
const headingsOf = (path: string): readonly string[] =>
  [...readFileSync(path, "utf8").matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );

for (const file of files)
  test(`${file} names files, commands and flags that there are`, () => {
    const text = readFileSync(repository(file), "utf8");
    for (const [, target, heading] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)) {
      const path = target === "" ? repository(file) : join(dirname(repository(file)), target);
      assert.ok(existsSync(path), target);
      if (heading !== undefined)
        assert.ok(headingsOf(path).includes(heading), `${target}#${heading}`);
    }
    for (const [line, name] of text.matchAll(/\bfedflat ([a-z]+) --?[^\n`#|]*/g)) {
      assert.ok(isCommand(name), line);
      const flags = flagsOf(name);
      for (const [flag] of line.matchAll(/--[a-z][a-z-]*/g))
        assert.ok(flags.includes(flag) || flag === "--help", `${line}: ${flag}`);
    }
  });
