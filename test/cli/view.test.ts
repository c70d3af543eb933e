import assert from "node:assert/strict";
import { test } from "node:test";
import { progressLines, wrapped } from "../../cli/view.js";

test("progress is one line where it fits, and several within the terminal's columns where it does not", () => {
  assert.deepEqual(progressLines(80, "round 2/9", 0.5, ["3 of 6 updates"]), [
    "  round 2/9 " + "█".repeat(15) + "░".repeat(15) + " 50 %  3 of 6 updates",
  ]);
  const states = "3 dialling, 104 idle, 12 downloading, 41 uploading";
  assert.deepEqual(progressLines(40, "14 of 60 s", 0.25, [states, "no lag"]), [
    "  14 of 60 s " + "█".repeat(5) + "░".repeat(16) + " 25 %",
    "  3 dialling, 104 idle, 12 downloading,",
    "  41 uploading",
    "  no lag",
  ]);
  for (const columns of [20, 40, 80, 200])
    for (const share of [0, 0.004, 1])
      for (const line of progressLines(columns, "1 s", share, [states]))
        assert.ok(line.length <= columns, line);
});

test("a word that is longer than the line has a line of its own", () => {
  assert.deepEqual(wrapped("a ws://127.0.0.1:7400 b c", 10), ["a", "ws://127.0.0.1:7400", "b c"]);
});
