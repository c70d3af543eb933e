import assert from "node:assert/strict";
import { test } from "node:test";
import { calm, type Log } from "../../aggregator/log.js";

test("a calm log has each sentence 20 times a second, and says how many it left out", (t) => {
  let now = 5_000_000;
  t.mock.method(performance, "now", () => now);
  const lines: [string, object, string][] = [];
  const take = (level: string) => (facts: object, sentence: string) =>
    void lines.push([level, facts, sentence]);
  const log: Log = {
    info: take("info"),
    warn: take("warn"),
    error: take("error"),
  };
  const quiet = calm(log);
  for (let i = 0; i < 1000; i++) quiet.warn({ i }, "knocked");
  quiet.info({}, "something else");
  assert.deepEqual(
    lines.map(([level]) => level),
    [...Array<string>(20).fill("warn"), "info"],
  );
  now += 1000;
  quiet.warn({ i: 1000 }, "knocked");
  now += 1000;
  quiet.warn({ i: 1001 }, "knocked");
  assert.deepEqual(lines.slice(21), [
    ["warn", { i: 1000, leftOut: 980 }, "knocked"],
    ["warn", { i: 1001, leftOut: undefined }, "knocked"],
  ]);
});

test("text of others in a calm log: cut, nothing hidden, and its sentence is one whatever it says", (t) => {
  t.mock.method(performance, "now", () => 0);
  const lines: [object, string][] = [];
  const take = (facts: object, sentence: string) => void lines.push([facts, sentence]);
  const quiet = calm({ info: take, warn: take, error: take });
  for (let i = 0; i < 100; i++)
    quiet.warn({ name: `${i}\u001b[2J` }, "a client failed", `${i}\u202e${"x".repeat(1000)}`);
  assert.equal(lines.length, 20);
  const [facts, sentence] = lines[7];
  assert.deepEqual(facts, { name: "7\ufffd[2J", leftOut: undefined });
  assert.equal(sentence, `a client failed: 7\ufffd${"x".repeat(254)}...`);
});
