import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FASHION, run, start } from "./command.js";
import { until } from "../until.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-demo-test-"));
after(() => rmSync(folder, { recursive: true }));

const participants = (name: string): number[] =>
  readFileSync(join(folder, name, "rounds.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).participants.length);

test("npm start, scaled down: client processes train without and with MAN, one is killed, and the model predicts", async () => {
  const demo = start(
    ...["demo", "--clients", "3", "--rounds", "2", "--local-epochs", "1"],
    ...["--run", folder, "--json"],
  );
  // The page comes first, and shows the run while it runs.
  const [, page] = await demo.until(/^\{"event":"page","page":"(http:[^"]+)"\}\n/);
  assert.match(await (await fetch(page)).text(), /<html/);
  const [, pids] = await demo.until(/"processes":\[([^\]]+)\]/);
  // Committed: the event comes later, when the model has been evaluated too.
  const rounds = join(folder, "plain", "rounds.jsonl");
  await until(() => existsSync(rounds) && readFileSync(rounds, "utf8").endsWith("\n"));
  process.kill(Number(pids.split(",")[1]), "SIGKILL");
  const { code, stdout, stderr } = await demo.ended;
  assert.equal(code, 0, stderr);
  const events = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const gone = events.find(({ event }) => event === "client");
  assert.deepEqual(gone, { event: "client", client: 2, ended: "SIGKILL" });
  assert.deepEqual(participants("plain"), [3, 2]);
  assert.deepEqual(participants("man"), [3, 3]);

  const { event, plain, man, model } = events.at(-1)!;
  assert.equal(event, "compared");
  // Chance is 0.1.
  for (const accuracy of [plain, man]) assert.ok(Number(accuracy) > 0.4, `accuracy ${accuracy}`);
  const predicted = await run(
    ...["predict", "--model", String(model), "--data", FASHION, "--json"],
  );
  const { accuracy } = JSON.parse(predicted.stdout.trim().split("\n").at(-1)!);
  assert.equal(accuracy, man);
});

test("nothing is left behind of the client processes", () => {
  assert.ok(!existsSync(join(folder, "clients")));
});
