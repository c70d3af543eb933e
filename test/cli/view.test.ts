import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { cutLines, progressLines, steadyView, wrapped, type View } from "../../cli/view.js";

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

test("a command stays whole, so that it can be copied", () => {
  const command = "  node main.js predict --model runs/2026-11-30/model --data some/folder";
  assert.deepEqual(wrapped(command, 40), [command]);
});

test("a steady view in a plain log says the newest progress whenever it was silent for four seconds", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const said: string[] = [];
  const silent: View = {
    say: (_event, _facts, sentence) => void (sentence === undefined || said.push(sentence)),
    progress() {},
    round: ({ round }) => void said.push(`round ${round}`),
    draw: (text) => void said.push(text),
    close() {},
  };
  const view = steadyView(silent);
  mock.timers.tick(4000);
  view.progress("round 1/9", 0.1, "1 of 3 updates");
  view.progress("round 1/9", 0.5, "2 of 3 updates");
  mock.timers.tick(3000);
  view.say("client", {}, "somebody came");
  view.say("client", {});
  mock.timers.tick(3999);
  assert.deepEqual(said, ["somebody came"]);
  mock.timers.tick(1);
  assert.deepEqual(said, ["somebody came", "round 1/9, 50.0 %, 2 of 3 updates"]);
  mock.timers.tick(4000);
  assert.equal(said.length, 3);
  view.close();
  mock.timers.tick(60_000);
  assert.equal(said.length, 3);
  mock.timers.reset();
});

test("where a terminal cuts lines, nothing of a sentence is lost, however long its words are", () => {
  const path = "/srv/federation/experiments/an-algorithm-of-my-own.js";
  const text = `fedcm, zeta 0 failed: "--algorithm" in "${path}" expected a module\nthat loads`;
  const lines = cutLines(text, 40);
  assert.ok(lines.every((line) => line.length <= 40));
  assert.equal(lines.join("").replaceAll(" ", ""), text.replaceAll(/[ \n]/g, ""));
  assert.equal(lines.at(-1), "that loads");
});
