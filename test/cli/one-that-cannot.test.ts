import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { run, start } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-cannot-"));
after(() => rmSync(folder, { recursive: true }));
const at = (...names: string[]) => join(folder, ...names);

test("a client whose data do not fit is named with its reason, at the terminal and by status; the others finish", async () => {
  const description = { input: [2], layers: [{ type: "dense", units: 2 }] };
  writeFileSync(at("model.json"), JSON.stringify(description));
  for (const [name, label] of [
    ["a", 1],
    ["b", 1],
    ["odd", 7],
  ] as const) {
    mkdirSync(at(name));
    const rows = Array.from({ length: 20 }, (_, i) => `${i % 3},${i % 5},${i % 2 ? label : 0}`);
    writeFileSync(at(name, "data.csv"), `x,y,label\n${rows.join("\n")}\n`);
  }
  const server = start(
    ...["serve", "--port", "0", "--model", at("model.json"), "--rounds", "2"],
    ...["--minimum", "2", "--gather", "2", "--run", at("run")],
  );
  const [, url] = await server.until(/Listening at (ws:\S+);/);
  const join = (name: string) =>
    start("join", "--url", url, "--data", at(name, "data.csv"), "--state", at("state", name));
  const odd = join("odd");
  await server.until(/Client [0-9a-f]{8} [^\n]*got "?7/);
  const { stdout } = await run("status", url.replace("ws", "http"));
  assert.match(stdout, /^[0-9a-f]{16} connected, [^\n]*got "?7/m);
  const others = ["a", "b"].map(join);
  const ended = await server.ended;
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(ended.stdout, /Done after 2 rounds/);
  assert.doesNotMatch(ended.stdout, /abandoned/);
  await Promise.all([odd, ...others].map((client) => client.ended));
});
