import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { addOptions, COMMANDS, type CommandName } from "../../cli/settings.js";
import { repository } from "../cli/command.js";

const files = [
  "README.md",
  ...readdirSync(repository("examples")).map((name) => `examples/${name}/README.md`),
].filter((file) => existsSync(repository(file)));

const isCommand = (name: string): name is CommandName =>
  (COMMANDS as readonly string[]).includes(name);

/** Flags of a command. */
function flagsOf(name: CommandName): readonly string[] {
  const command = new Command(name);
  addOptions(command, name);
  return command.options.map(({ long }) => String(long));
}

for (const file of files)
  test(`${file} names files, commands and flags that there are`, () => {
    const text = readFileSync(repository(file), "utf8");
    for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#]+)\)/g))
      assert.ok(existsSync(join(dirname(repository(file)), target)), target);
    for (const [line, name] of text.matchAll(/\bfedflat ([a-z]+) --?[^\n`#|]*/g)) {
      assert.ok(isCommand(name), line);
      const flags = flagsOf(name);
      for (const [flag] of line.matchAll(/--[a-z][a-z-]*/g))
        assert.ok(flags.includes(flag) || flag === "--help", `${line}: ${flag}`);
    }
  });
