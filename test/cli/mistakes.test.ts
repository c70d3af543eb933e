import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FASHION, run, start } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-mistakes-"));
after(() => rmSync(folder, { recursive: true }));

const at = (...names: string[]) => join(folder, ...names);

/** Runs a command that must fail with one sentence, and leave no run's folder behind. */
async function refused(code: number, sentence: RegExp, ...argv: string[]): Promise<void> {
  const outcome = await run(...argv);
  assert.match(outcome.stderr, sentence);
  assert.match(outcome.stderr, /^fedflat: [^\n]+\n$/);
  assert.equal(outcome.stdout, "");
  assert.equal(outcome.code, code);
  assert.ok(!existsSync(at("run")), readdirSync(folder).join());
}

const simulate = (...argv: string[]) => [
  ...["simulate", "--run", at("run"), "--rounds", "1"],
  ...argv,
];

test("a data set that is not there", () =>
  refused(1, /nowhere.*a path where there is nothing/, ...simulate("--data", at("nowhere"))));

test("a truncated gzip", async () => {
  cpSync(FASHION, at("truncated"), { recursive: true });
  const images = at("truncated", "train-images-idx3-ubyte.gz");
  writeFileSync(images, readFileSync(images).subarray(0, 100_000));
  await refused(1, /train-images-idx3-ubyte.gz/, ...simulate("--data", at("truncated")));
});

test("a label out of range", async () => {
  writeFileSync(at("labels.csv"), "1,2,0\n3,4,1\n5,6,-7\n");
  await refused(1, /label.*-7/, ...simulate("--data", at("labels.csv")));
});

test("data of another shape than the model's", () =>
  refused(
    1,
    /expected examples of 32x32x3 for the model cifar, got 28x28x1/,
    ...simulate("--data", FASHION, "--model", "cifar"),
  ));

test("a model that is neither a preset nor a file", () =>
  refused(
    2,
    /"--model" expected one of .*fashion-small.* got "fashion"/,
    ...simulate("--data", FASHION, "--model", "fashion"),
  ));

test("a description with a wrong field", async () => {
  writeFileSync(
    at("model.json"),
    JSON.stringify({
      input: [28, 28, 1],
      layers: [{ type: "flatten" }, { type: "dense", units: -3 }],
    }),
  );
  await refused(
    1,
    /layers\[1\].dense.units/,
    ...simulate("--data", FASHION, "--model", at("model.json")),
  );
});

test("an unknown algorithm, and a number that it does not have", async () => {
  await refused(
    2,
    /expected one of fedavg, .* got "fedavgg"/,
    ...simulate("--data", FASHION, "--algorithm", "fedavgg"),
  );
  await refused(2, /"--set mu" expected/, ...simulate("--data", FASHION, "--set", "mu=1"));
});

test("buffered rounds of an algorithm with client state, and flags of the other mode", async () => {
  const buffered = simulate("--data", FASHION, "--mode", "buffered");
  await refused(
    2,
    /"--mode" expected synchronous for feddyn, whose clients keep a state/,
    ...buffered,
    ...["--algorithm", "feddyn"],
  );
  await refused(
    2,
    /"--fraction" expected no --mode buffered beside it/,
    ...buffered,
    ...["--fraction", "0.1"],
  );
  await refused(
    2,
    /"--buffer" expected --mode buffered beside it/,
    ...simulate("--data", FASHION, "--buffer", "5"),
  );
});

test("texts, and several series, without --window", async () => {
  for (const ending of ["txt", "csv"]) {
    mkdirSync(at(ending));
    for (const name of ["one", "two"]) writeFileSync(at(ending, `${name}.${ending}`), "a,b\n1,2\n");
  }
  await refused(1, /expected --window beside texts/, ...simulate("--data", at("txt")));
  await refused(1, /\(or --window, by which each/, ...simulate("--data", at("csv")));
});

test("flags that do not go together are wrong usage, and are named as they are typed", async () => {
  const given = simulate("--data", FASHION);
  const cases: [RegExp, ...string[]][] = [
    [/"--dp-clip" expected --dp-noise beside it, got 1/, "--dp-clip", "1"],
    [/"--dp-clip" expected .* beside --dp-noise, got nothing/, "--dp-noise", "1"],
    [/"--threshold" expected a model whose target is the input/, "--threshold", "0.9"],
    [/"--normalise" expected none beside/, "--normalise", "channels"],
    [/"--codec" expected .* for scaffold/, "--codec", "topk", "--algorithm", "scaffold"],
    [/"--codec-set block" expected/, "--codec-set", "block=4"],
    [/"--codec-set" expected name=number, got "__proto__=1"/, "--codec-set", "__proto__=1"],
    [/"--codec-set fraction" expected/, "--codec", "int8", "--codec-set", "fraction=0.1"],
    [/"--learning-rate" expected more than 0/, "--learning-rate", "0"],
    [/"--codec" expected float32 beside --secure/, "--secure", "--codec", "int8"],
    [/"--algorithm" expected .* got scaffold/, "--secure", "--algorithm", "scaffold"],
    [/"--clients" expected at least 4/, "--secure", "--clients", "3"],
    [/"--attack" expected/, "--attack", "huge:1e40", "--attackers", "1"],
    [/"--aggregate" expected .* 2 updates/, "--aggregate", "krum", "--clients", "2"],
    [
      /"--bucket" expected fewer than the 4 updates/,
      ...["--aggregate", "median", "--bucket", "4", "--hostile", "0", "--clients", "4"],
    ],
    [
      /"--codec-set scaled" expected 0 for memory/,
      ...["--algorithm", "memory", "--codec", "randk", "--codec-set", "scaled=1"],
    ],
    [
      /"--aggregate-set" expected .* for median, got "keep"/,
      ...["--aggregate", "median", "--aggregate-set", "keep=1"],
    ],
    [
      /"--aggregate-set" expected numbers of multi-krum .* got keep=99/,
      ...["--aggregate", "multi-krum", "--aggregate-set", "keep=99", "--clients", "9"],
    ],
  ];
  for (const [sentence, ...flags] of cases) await refused(2, sentence, ...given, ...flags);
});

test("an unknown flag and an unknown key of the config file name the nearest", async () => {
  await refused(2, /--learning-rate/, ...simulate("--learning-rat", "1"));
  writeFileSync(at("config.json"), JSON.stringify({ "learning-rat": 1 }));
  await refused(
    2,
    /did you mean "learning-rate"/,
    ...simulate("--data", FASHION, "--config", at("config.json")),
  );
});

test("more clients than examples, and groups where there are none", async () => {
  await refused(1, /at least/, ...simulate("--data", FASHION, "--clients", "20000"));
  await refused(1, /group/, ...simulate("--data", FASHION, "--split", "groups"));
});

test("a port that is in use", async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as AddressInfo;
  try {
    await refused(
      1,
      /"--port" expected a free port, got \d+/,
      ...["serve", "--port", String(port), "--run", at("run")],
    );
  } finally {
    other.close();
  }
});

test("an address beyond this machine without a token", () =>
  refused(
    2,
    /"--host" expected a loopback address .* got 0.0.0.0/,
    ...["serve", "--port", "0", "--host", "0.0.0.0", "--run", at("run")],
  ));

test("an aggregator that cannot be reached", async () => {
  const { code, stdout, stderr } = await run(
    ...["join", "--url", "ws://127.0.0.1:9", "--data", FASHION],
    ...["--state", at("state"), "--patience", "0.5"],
  );
  assert.equal(code, 1);
  assert.match(stderr, /^fedflat: "--url" expected an aggregator .* got [^\n]+\n$/);
  assert.match(stdout, /No line to ws:\/\/127.0.0.1:9/);
});

test("a client whose data do not fit the run's model is not ready, and says why", async () => {
  writeFileSync(at("wide.csv"), "1,2,0\n3,4,1\n5,6,1\n");
  const server = start(
    ...["serve", "--port", "0", "--minimum", "1", "--run", at("declined")],
    "--json",
  );
  const [, url] = await server.until(/"url":"([^"]+)"/);
  const client = start(
    ...["join", "--url", url, "--data", at("wide.csv")],
    ...["--state", at("wide")],
  );
  await client.until(/Problem: "data" expected examples of shape \[28, 28, 1\], got \[2\]/);
  client.process.kill("SIGINT");
  server.process.kill("SIGINT");
  const [left, ended] = await Promise.all([client.ended, server.ended]);
  assert.equal(left.code, 130, left.stderr);
  assert.match(left.stdout, /unfinished work are in .*wide/);
  assert.equal(ended.code, 130, ended.stderr);
  const last = JSON.parse(ended.stdout.trim().split("\n").at(-1)!);
  assert.equal(last.event, "stopped");
  assert.equal(last.run, at("declined"));
});

test("a simulation in which no update can be used ends with one sentence that says why", async () => {
  const { code, stdout, stderr } = await run(
    ...simulate("--data", FASHION, "--samples", "200", "--clients", "2", "--local-epochs", "1"),
    ...["--learning-rate", "1000", "--clip-norm", "0"],
  );
  rmSync(at("run"), { recursive: true });
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^fedflat: [^\n]*too few clients can train: client [0-9a-f]{8} \((range|diverged): [^\n]*a smaller learning rate or a clip may help\), client [^\n]*\n$/,
  );
  assert.match(stdout, /attempt 1 was abandoned: 0 of 1 updates needed/);
  assert.doesNotMatch(stdout, /attempt 2/);
});

test("a run's folder that cannot be written", async () => {
  writeFileSync(at("file"), "");
  const { code, stdout, stderr } = await run(
    ...["simulate", "--data", FASHION, "--run", at("file", "run")],
  );
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(
    stderr,
    /^fedflat: [^\n]*file\/run[^\n]* expected [^\n]*, got a path that leads through a file\n$/,
  );
});

test("a reader that goes away, as head does, ends a command without a word", async () => {
  const running = start(
    ...simulate("--data", FASHION, "--samples", "200", "--clients", "2", "--local-epochs", "1"),
    "--json",
  );
  await running.until(/\n/);
  running.process.stdout!.destroy();
  const { code, stderr } = await running.ended;
  rmSync(at("run"), { recursive: true });
  assert.equal(stderr, "");
  assert.equal(code, 0);
});

test("a run's folder that holds a run, and --resume where there is none", async () => {
  mkdirSync(at("kept"));
  const tiny = at("tiny.json");
  writeFileSync(
    tiny,
    JSON.stringify({
      input: [28, 28, 1],
      layers: [{ type: "flatten" }, { type: "dense", units: 10 }],
    }),
  );
  const again = ["simulate", "--data", FASHION, "--model", tiny];
  const argv = [...again, "--run", at("kept"), "--rounds", "1"];
  assert.equal((await run(...argv)).code, 0);
  const before = readFileSync(at("kept", "rounds.jsonl"), "utf8");
  const { code, stderr } = await run(...argv);
  assert.equal(code, 1);
  assert.match(stderr, /^fedflat: "--run" expected a folder without a run, [^\n]*\n$/);
  assert.equal(readFileSync(at("kept", "rounds.jsonl"), "utf8"), before);
  await refused(1, /folder of a run to resume/, ...simulate("--data", FASHION, "--resume"));
  const other = await run(...argv, "--resume", "--algorithm", "feddyn");
  assert.equal(other.code, 1);
  assert.match(other.stderr, /^fedflat: "--algorithm" expected the algorithm \(fedavg\) [^\n]*\n$/);
});
