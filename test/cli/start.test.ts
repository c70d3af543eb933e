import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { repository, startNode } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-start-"));
after(() => rmSync(folder, { recursive: true }));

/** A repository in which the build runs this program, and the demo prints its arguments. */
function clone(name: string, build: string): string {
  const root = join(folder, name);
  mkdirSync(join(root, "dist", "cli"), { recursive: true });
  mkdirSync(join(root, "node_modules"));
  cpSync(repository("start.mjs"), join(root, "start.mjs"));
  writeFileSync(join(root, "build.mjs"), build);
  writeFileSync(join(root, "package.json"), '{"scripts":{"build":"node build.mjs"}}');
  writeFileSync(join(root, "dist/cli/main.js"), "console.log(process.argv.slice(2).join());");
  return root;
}

test("npm start says first how long it takes, then hides what the build's tools print, and runs the demo", async () => {
  const root = clone("whole", 'console.log("sizes"); console.error("converge");');
  const { code, stdout, stderr } = await startNode(join(root, "start.mjs"), "--rounds", "3").ended;
  assert.equal(code, 0);
  assert.match(
    stdout,
    /^Building .*seconds\.\nThe demo .*minutes.*\n(building, \d+ s\n)*Built in \d+ s\.\n/,
  );
  assert.match(stdout, /demo,--rounds,3\n$/);
  assert.doesNotMatch(stdout + stderr, /sizes|converge/);
});

test("a build that fails shows what it printed, and no demo begins", async () => {
  const root = clone("broken", 'console.error("no such type"); process.exitCode = 3;');
  const { code, stdout, stderr } = await startNode(join(root, "start.mjs")).ended;
  assert.equal(code, 1);
  assert.match(stderr, /no such type\n.*the build has failed/);
  assert.doesNotMatch(stdout, /demo,/);
});

test("without node_modules npm start says what puts them there", async () => {
  const root = clone("bare", "");
  rmSync(join(root, "node_modules"), { recursive: true });
  const { code, stderr } = await startNode(join(root, "start.mjs")).ended;
  assert.equal(code, 1);
  assert.equal(stderr, "fedflat: node_modules is not there; npm ci makes it.\n");
});
