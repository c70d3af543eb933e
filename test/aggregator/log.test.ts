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
