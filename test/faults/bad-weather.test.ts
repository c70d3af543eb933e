import assert from "node:assert/strict";
import { test } from "node:test";
import { weather } from "./bad-weather.js";

// Fifty rounds with 500 ms of jitter: npm run weather. Here the same at a smaller scale.
test("drop-outs, resets, jitter and a kill: the rounds end in time, with the quality of the clean run", async (t) => {
  const deadline = 3000;
  const result = await weather({
    rounds: 12,
    deadline,
    weather: { jitter: 30, resets: 0.01, slice: 4096 },
    kill: 90,
  });
  t.diagnostic(JSON.stringify(result));
  assert.ok(result.dropOuts > 10);
  assert.ok(result.accuracy > result.cleanAccuracy - 0.05);
  // The deadline, and the time of a commit on a machine that does other things too.
  assert.ok(result.longestRound < deadline / 1000 + 2);
});
