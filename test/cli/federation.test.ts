import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FASHION, run, start } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-federation-"));
after(() => rmSync(folder, { recursive: true }));

/** A network that trains in no time. */
const model = join(folder, "tiny.json");
writeFileSync(
  model,
  JSON.stringify({
    input: [28, 28, 1],
    layers: [
      {
        type: "conv2d",
        filters: 4,
        kernelSize: 5,
        strides: 2,
        activation: "relu",
      },
      { type: "maxPool", size: 2 },
      { type: "flatten" },
      { type: "dense", units: 10 },
    ],
  }),
);

const rounds = (run: string) => readFileSync(join(folder, run, "rounds.jsonl"), "utf8");

const ROUNDS = ["--model", model, "--rounds", "3", "--local-epochs", "1"];
const DEALT = ["--data", FASHION, "--split", "dirichlet:0.3"];

const simulate = async (name: string, ...more: string[]) => {
  const outcome = await run(
    ...["simulate", ...ROUNDS, ...DEALT, "--clients", "3"],
    ...["--run", join(folder, name), "--json", ...more],
  );
  assert.equal(outcome.code, 0, outcome.stderr);
  return outcome.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
};

test("the same seed gives the same bytes of rounds.jsonl with one worker, with two, and over sockets in another order", async () => {
  const events = await simulate("one", "--workers", "1");
  assert.deepEqual(
    events.map(({ event }) => event),
    ["notice", "simulating", "round", "round", "round", "done"],
  );
  assert.equal(rounds("one").trim().split("\n").length, 3);
  await simulate("two", "--workers", "2");
  assert.equal(rounds("two"), rounds("one"));

  const server = start(
    ...["serve", "--port", "0", ...ROUNDS, "--test", FASHION],
    ...["--gather", "3", "--over-selection", "1"],
    ...["--run", join(folder, "sockets"), "--json"],
  );
  const [, url] = await server.until(/"url":"([^"]+)"/);
  const clients = [];
  for (const k of [3, 1, 2]) {
    clients.push(
      start(
        ...["join", "--url", url, ...DEALT, "--part", `${k}/3`],
        ...["--lab-identity", `1:${k}`, "--hold-out", "0", "--json"],
        ...["--state", join(folder, "clients", String(k))],
      ),
    );
    await server.until(new RegExp(`"connected":${clients.length}`));
  }
  for (const { ended } of [server, ...clients]) {
    const { code, stderr } = await ended;
    assert.equal(code, 0, stderr);
    assert.equal(stderr, "");
  }
  assert.equal(rounds("sockets"), rounds("one"));
  const line = JSON.parse(rounds("one").split("\n")[0]);
  assert.equal(line.participants.length, 3);
});

test("another seed gives other bytes", async () => {
  await simulate("seed", "--seed", "2");
  assert.notEqual(rounds("seed"), rounds("one"));
});

test("a simulation that is stopped by Ctrl-C says where it is, and goes on to the same end", async () => {
  const path = join(folder, "stopped");
  const common = ["simulate", ...ROUNDS, ...DEALT, "--clients", "3"];
  const stopped = start(...common, "--run", path, "--rounds", "1000");
  await stopped.until(/round 1\//);
  stopped.process.kill("SIGINT");
  const { code, stdout, stderr } = await stopped.ended;
  assert.equal(code, 130, stderr);
  assert.match(stdout, /Stopped after round \d+\. The state is in .*stopped/);
  const done = rounds("stopped").trim().split("\n").length;
  await simulate("stopped", ...["--resume", "--rounds", String(Math.max(3, done))]);
  assert.equal(rounds("stopped").split("\n").slice(0, 3).join("\n") + "\n", rounds("one"));
});
