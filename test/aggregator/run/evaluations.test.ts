import assert from "node:assert/strict";
import { test } from "node:test";
import { openEvaluations } from "../../../aggregator/run/evaluations.js";
import { silent } from "../../../aggregator/log.js";
import { metricReader } from "../../../runtime/models/metrics/built-in.js";
import { preset } from "../../../runtime/models/presets.js";

test("where evaluations are behind the oldest models are passed over, and the last one never", async () => {
  const lines: number[] = [];
  let open: () => void = () => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  const evaluations = openEvaluations({
    seed: "1",
    fraction: 0,
    deadline: 1000,
    async test() {
      await gate;
      return { count: 1, correct: 1, loss: 1 };
    },
    metrics: metricReader({ description: preset("perceptron"), classes: ["0", "1"] }),
    log: silent,
    maxSamples: undefined,
    doubted() {},
    give() {},
    takeBack() {},
    done: ({ round }) => lines.push(round),
  });
  const model = { sha256: "", bytes: new Uint8Array() };
  for (let round = 1; round <= 20; round++) evaluations.begin(round, model, []);
  open();
  await evaluations.idle();
  // The one that was begun, and the newest that may wait.
  assert.deepEqual(lines, [1, 13, 14, 15, 16, 17, 18, 19, 20]);
});
