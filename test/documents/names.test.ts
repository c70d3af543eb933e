import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { NAMES, type CommandName } from "../../cli/flags.js";
import { addOptions } from "../../cli/settings.js";
import { repository } from "../cli/command.js";
import { DOCUMENTS, FILES, SOURCES, commentsOf, textOf } from "./tree.js";

const isCommand = (name: string): name is CommandName =>
  (NAMES as readonly string[]).includes(name);

/** Flags of a command. */
function flagsOf(name: CommandName): readonly string[] {
  const command = new Command(name);
  addOptions(command, name);
  return command.options.map(({ long }) => String(long));
}

/** The names under which the headings of a page can be linked to, as GitHub makes them. */
const headingsOf = (text: string): readonly string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );

const { scripts } = JSON.parse(textOf("package.json")) as { scripts: Record<string, string> };

/** Every end of every path, since a text may name a file without its folders. */
const ENDS = new Set(
  FILES.flatMap((path) => {
    const parts = path.split("/");
    return parts.map((_, from) => parts.slice(from).join("/"));
  }),
);

/** What programs write, what readers make themselves, and what others have. */
const ELSEWHERE = /^(summary|fedcm|use|prometheus|NAME)\.|^model\.py$|\/NAME\./;
const NAMED = /(?<![\w/.:@*-])((?:[\w.-]+\/)*[\w.-]+\.(?:ts|mjs|md|py|yml))\b(?![\w*/])/g;

/** The files that a text names and that are nowhere in the tree. */
const missingIn = (text: string): readonly string[] =>
  [...text.matchAll(NAMED)]
    .map(([, name]) => name.replace(/^(\.{1,2}\/)+/, ""))
    .filter((name) => !ENDS.has(name) && !ELSEWHERE.test(name));

/** These name files of other projects. */
const OF_OTHERS = ["bench/peers/features.md", "docs/comparison.md"];

for (const document of DOCUMENTS)
  test(`${document} names files, headings, commands, flags and npm scripts that there are`, () => {
    const text = textOf(document);
    if (!OF_OTHERS.includes(document)) assert.deepEqual(missingIn(text), []);
    for (const [, target, heading] of text.matchAll(/\]\((?!\w+:)([^)#]*)(?:#([^)]+))?\)/g)) {
      const path = target === "" ? document : join(dirname(document), target);
      assert.ok(existsSync(repository(path)), target);
      if (heading !== undefined)
        assert.ok(headingsOf(textOf(path)).includes(heading), `${target}#${heading}`);
    }
    for (const [line, name] of text.matchAll(/\bfedflat ([a-z]+) --?[^\n`#|]*/g)) {
      assert.ok(isCommand(name), line);
      const flags = flagsOf(name);
      for (const [flag] of line.matchAll(/--[a-z][a-z-]*/g))
        assert.ok(flags.includes(flag) || flag === "--help", `${line}: ${flag}`);
    }
    for (const [, name] of text.matchAll(/`fedflat ([a-z]+)\b/g)) assert.ok(isCommand(name), name);
    // The scripts of a template or an example are those of its own package.json.
    if (!/^(examples|cli\/create)\//.test(document))
      for (const [, name] of text.matchAll(/\bnpm run ([\w:-]+)/g))
        assert.ok(name in scripts, `npm run ${name}`);
  });

test("comments name files that there are", () => {
  const missing = SOURCES.flatMap((path) =>
    commentsOf(path).flatMap(({ place, text }) =>
      missingIn(text).map((name) => `${place}: ${name}`),
    ),
  );
  assert.deepEqual(missing, []);
});
