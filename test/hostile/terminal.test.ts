import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { crowdView } from "../../cli/crowd.js";
import type { View } from "../../cli/view.js";
import { RawClient } from "../aggregator/run/raw-client.js";
import { start } from "../cli/command.js";

// What clients cause at the operator's terminal, or for the program that reads it.

for (const json of [false, true])
  test(`a member that offers, fails and comes back all the time does not fill ${json ? "a program's input" : "the terminal"}`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "fedflat-terminal-"));
    const model = join(folder, "model.json");
    await writeFile(model, `{"input":[4],"layers":[{"type":"dense","units":3}]}`);
    const server = start(
      ...["serve", "--model", model, "--rounds", "1", "--gather", "3", "--port", "0"],
      ...["--run", join(folder, "run"), ...(json ? ["--json"] : [])],
    );
    try {
      const [, url] = await server.until(/(ws:\/\/127\.0\.0\.1:\d+)/);
      const before = server.stdout().split("\n").length;
      for (let line = 0; line < 40; line++) {
        const bad = new RawClient({ url, seed: "bad" });
        await bad.join();
        for (let i = 0; i < 50; i++) {
          bad.offer(String(i).padStart(32, "0"), Uint8Array.of(1));
          bad.send({ type: "busy", reason: `reason ${i}`, code: "data" });
          bad.send({ type: "ready" });
        }
        bad.send({ type: "ping", id: 7 });
        await bad.next("pong");
        bad.cut();
      }
      const lines = server.stdout().split("\n").slice(before);
      const most = json ? 3 * 20 + 200 : 3 * 20 + 5;
      assert.ok(lines.length <= most, `${lines.length} lines, the last one ${lines.at(-2)}`);
      assert.ok(lines.some((line) => /Refused an update|"refused"/.test(line)));
    } finally {
      server.process.kill("SIGKILL");
      await server.ended;
      await rm(folder, { recursive: true });
    }
  });

/** What a view does beside saying sentences: nothing. */
const SILENT = { progress() {}, round() {}, draw() {}, close() {} };

test("what was left out of a minute is said in the next one; what no client causes is never left out", () => {
  const said: (string | undefined)[] = [];
  const plain: View = {
    say: (_event, _facts, sentence) => void said.push(sentence),
    ...SILENT,
  };
  let now = 0;
  const view = crowdView(plain, { waiting: 2 }, () => now);
  for (let i = 0; i < 100; i++) {
    view.say("refused", { client: "a" }, "Refused.");
    view.say("abandoned", {}, "Abandoned.");
  }
  view.say("refused", { client: "b" }, "Refused another.");
  now = 60_000;
  view.say("refused", { client: "a" }, "Refused.");
  view.say("refused", { client: "a" }, "Refused.");
  const count = (sentence: string) => said.filter((one) => one === sentence).length;
  assert.deepEqual([count("Abandoned."), count("Refused.")], [100, 22]);
  assert.equal(count("Refused another. (80 more lines were left out.)"), 1);
  for (let i = 0; i < 3000; i++) view.say("client", { client: String(i) }, "Came.");
  assert.equal(count("Came."), 998);
  now = 120_000;
  for (let i = 0; i < 3; i++) view.say("waiting", {}, "Waits.");
  assert.equal(said.filter((one) => one?.startsWith("Waits.")).length, 2);
});

test("what is counted as left out are lines that would have been there: events without a sentence are objects for programs alone", () => {
  const said: { readonly facts: object; readonly sentence: string | undefined }[] = [];
  const plain: View = {
    say: (_event, facts, sentence) => void said.push({ facts, sentence }),
    ...SILENT,
  };
  let now = 0;
  const view = crowdView(plain, { waiting: 2 }, () => now);
  const crowd = (silent: number, spoken: number) => {
    said.length = 0;
    for (let i = 0; i < 20 + spoken; i++) view.say("refused", { client: "a" }, "Refused.");
    for (let i = 0; i < 20 + silent; i++) view.say("missed", { client: "a" });
    now += 60_000;
    view.say("refused", { client: "a" }, "Refused.");
    return said.at(-1);
  };
  assert.deepEqual(crowd(50, 0), { facts: { client: "a", leftOut: 50 }, sentence: "Refused." });
  assert.deepEqual(crowd(50, 1), {
    facts: { client: "a", leftOut: 52 },
    sentence: "Refused. (2 more lines were left out.)",
  });
});
