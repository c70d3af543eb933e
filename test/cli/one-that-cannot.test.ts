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

test("where one leaves and the quorum falls, the sentence is of the attempt, and no good update is called refused", async () => {
  const description = { input: [2], layers: [{ type: "dense", units: 2 }] };
  writeFileSync(at("small.json"), JSON.stringify(description));
  const rows = Array.from({ length: 60 }, (_, i) => `${i % 3},${i % 5},${i % 2}`);
  writeFileSync(at("all.csv"), `x,y,label\n${rows.join("\n")}\n`);
  const server = start(
    ...["serve", "--port", "0", "--model", at("small.json"), "--rounds", "1", "--gather", "3"],
    ...["--local-epochs", "5000", "--absence", "1", "--normalise", "none", "--run", at("left")],
  );
  const [, url] = await server.until(/Listening at (ws:\S+);/);
  const clients = [1, 2, 3].map((part) =>
    start(
      ...["join", "--url", url, "--data", at("all.csv"), "--part", `${part}/3`, "--json"],
      ...["--state", at("state", `left-${part}`)],
    ),
  );
  await clients[0].until(/"what":"accepted","task":"train"|"task":"train"[^\n]*"what":"accepted"/);
  clients[0].process.kill("SIGKILL");
  const ended = await server.ended;
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(
    ended.stdout,
    /attempt 1 was abandoned: \d of 3 updates needed \(quorum 0\.8 of 3\) were there, [^\n]*\(left\)/,
  );
  assert.doesNotMatch(ended.stdout, /Refused an update/);
  const [, ...others] = await Promise.all(clients.map((client) => client.ended));
  for (const { stdout } of others)
    assert.match(stdout, /"code":"abandoned","message":"[^"]*too few of the others came"/);
});
