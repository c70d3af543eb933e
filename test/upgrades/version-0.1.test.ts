import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { repository, run, start } from "../cli/command.js";

// What 0.1.0 wrote, by test/vectors/version-0.1/make.mjs: a run of FedDyn that was stopped after its
// fourth round, and its two clients with their keys and their algorithm's state.

const folder = mkdtempSync(join(tmpdir(), "fedflat-0.1-"));
after(() => rmSync(folder, { recursive: true }));
cpSync(repository("test/vectors/version-0.1"), folder, { recursive: true });
const at = (name: string) => join(folder, name);

interface Record {
  readonly round: number;
  readonly participants: readonly string[];
  readonly lossAfter: number;
}

const rounds = () =>
  readFileSync(at("run/rounds.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record);

test("a model of 0.1 is read, and predicts", async () => {
  const argv = ["--model", at("run/model"), "--data", at("data.csv"), "--json"];
  const { code, stdout, stderr } = await run("predict", ...argv);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /"event":"done","examples":60/);
});

test("a run of 0.1 goes on with its clients, their keys and their algorithm's state", async () => {
  const before = rounds();
  assert.equal(before.length, 4);
  const token = ["--token-file", at("token"), "--json"];
  const server = start(
    ...["serve", "--model", at("model.json"), "--algorithm", "feddyn", "--rounds", "6"],
    ...["--gather", "2", "--minimum", "2", "--local-epochs", "1", "--batch-size", "8"],
    ...["--run", at("run"), "--resume", "--port", "0", ...token],
  );
  const [, url] = await server.until(/"url":"([^"]+)"/);
  const clients = [1, 2].map((k) =>
    start(
      ...["join", "--url", url, "--data", at("data.csv"), "--split", "iid", "--part", `${k}/2`],
      ...["--state", at(`client-${k}`), ...token],
    ),
  );
  for (const { ended } of clients) {
    const { code, stdout, stderr } = await ended;
    assert.deepEqual([code, stderr], [0, ""]);
    assert.doesNotMatch(stdout, /at zero|begins? again|cannot be read/);
  }
  const { code, stdout, stderr } = await server.ended;
  assert.deepEqual([code, stderr], [0, ""], stdout);
  const now = rounds();
  assert.deepEqual(
    now.map(({ round }) => round),
    [1, 2, 3, 4, 5, 6],
  );
  assert.deepEqual(now.slice(0, 4), before);
  // The same identities: their keys were read.
  assert.deepEqual([...now[5].participants].sort(), [...before[0].participants].sort());
  assert.ok(now[5].lossAfter < before[0].lossAfter);
});
