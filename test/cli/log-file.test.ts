import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { calm } from "../../aggregator/log.js";
import { logInto } from "../../cli/log-file.js";

function inFolder(work: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "fedflat-log-"));
  try {
    work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("a log turns over at half of its size: what it had is kept once, and no line is cut", () =>
  inFolder((folder) => {
    const file = join(folder, "run", "log.jsonl");
    const log = logInto(file, 20_000);
    for (let i = 0; i < 1000; i++) log.info({ i }, "something happened");
    assert.deepEqual(readdirSync(join(folder, "run")).sort(), ["log.jsonl", "log.jsonl.1"]);
    const lines = [`${file}.1`, file].flatMap((part) => {
      assert.ok(statSync(part).size <= 10_000);
      return readFileSync(part, "utf8").trim().split("\n");
    });
    const numbers = lines.map((line) => (JSON.parse(line) as { i: number }).i);
    assert.deepEqual(
      numbers,
      Array.from({ length: numbers.length }, (_, i) => 1000 - numbers.length + i),
    );
  }));

test("24 hours of the worst log flood fit in the size of the log, and what we say stays in it", (t) =>
  inFolder((folder) => {
    let now = 0;
    t.mock.method(performance, "now", () => now);
    const file = join(folder, "log.jsonl");
    // The default of serve --log-size.
    const log = logInto(file, 200e6);
    const others = calm(log);
    log.info({ round: 1 }, "a round is committed");
    // As many as a message may have, of characters that JSON writes as six each.
    const words = "\u0001".repeat(4096);
    for (; now < 86_400_000; now += 2000)
      for (const sentence of ["refused a frame", "the client complains", "connection closed"])
        others.warn({ client: words, address: "10.0.0.1" }, sentence, words);
    log.info({ round: 2 }, "a round is committed");
    assert.deepEqual(readdirSync(folder), ["log.jsonl"]);
    const { size } = statSync(file);
    assert.ok(size < 100e6, `${size}`);
    const text = readFileSync(file, "utf8");
    assert.match(text, /"round":1[^]*"round":2/);
    assert.match(text, /"leftOut":\d+/);
  }));

test("a log names its levels, with the priority that systemd's journal reads", () => {
  const script = `
    const { logInto } = await import(${JSON.stringify(new URL("../../cli/log-file.js", import.meta.url).href)});
    const log = logInto("-");
    log.info({}, "fine"); log.warn({ name: "\\u009b31m" }, "odd"); log.error({}, "bad");`;
  const levels = (env: NodeJS.ProcessEnv) => {
    const argv = ["--input-type=module", "--eval", script];
    const { stderr } = spawnSync(process.execPath, argv, { encoding: "utf8", env });
    assert.doesNotMatch(stderr, /[\u0080-\u009f]/);
    return stderr
      .trim()
      .split("\n")
      .map((line) => /^(<\d>)?\{"level":"(\w+)"/.exec(line)?.[0]);
  };
  const { JOURNAL_STREAM: _, ...env } = process.env;
  assert.deepEqual(levels(env), ['{"level":"info"', '{"level":"warn"', '{"level":"error"']);
  assert.deepEqual(levels({ ...env, JOURNAL_STREAM: "8:1" }), [
    '<6>{"level":"info"',
    '<4>{"level":"warn"',
    '<3>{"level":"error"',
  ]);
});

test("a log that cannot be written ends nothing, and says so once", (t) =>
  inFolder((folder) => {
    const said: string[] = [];
    t.mock.method(process.stderr, "write", (text: string) => void said.push(text));
    const log = logInto(folder);
    log.info({}, "one");
    log.info({}, "two");
    t.mock.restoreAll();
    assert.equal(said.length, 1);
    assert.match(said[0], /^fedflat: "[^"]+" expected a log that can be written, got a folder\n$/);
  }));
