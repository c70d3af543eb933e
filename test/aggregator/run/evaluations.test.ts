import assert from "node:assert/strict";
import { test } from "node:test";
import { openEvaluations } from "../../../aggregator/run/evaluations.js";
import type { EvaluationRecord } from "../../../aggregator/run/evaluation-record.js";
import { silent } from "../../../aggregator/log.js";
import { parseDescription } from "../../../runtime/models/description.js";
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

/** What is said of these clients' errors, and who is doubted. */
async function evaluated(meanSquares: readonly number[]) {
  const lines: EvaluationRecord[] = [];
  const doubted: string[] = [];
  const description = { ...preset("perceptron", 1, [2]), loss: { type: "meanSquaredError" } };
  const evaluations = openEvaluations({
    seed: "1",
    fraction: 1,
    deadline: 10_000,
    test: undefined,
    metrics: metricReader({ description: parseDescription(description), classes: [] }),
    log: silent,
    maxSamples: undefined,
    doubted: ({ client }) => doubted.push(client),
    give(assignment) {
      const square = meanSquares[Number(assignment.client)];
      // Ten examples with one error, on targets of mean 0 and deviation 1.
      const sums = [10 * Math.sqrt(square), 10 * Math.sqrt(square), 10 * square, 0, 10];
      setImmediate(() =>
        evaluations.answered(assignment, { count: 10, correct: 0, loss: 10 * square, sums }),
      );
    },
    takeBack() {},
    done: (record) => lines.push(record),
  });
  evaluations.begin(1, { sha256: "", bytes: new Uint8Array() }, ["0", "1", "2"]);
  await evaluations.idle();
  const { metrics, spread } = lines[0].federated ?? {};
  return { r2: metrics?.r2, doubted, spread };
}

test("where the model has diverged its errors count, and no client is blamed for them", async () => {
  const { r2, doubted } = await evaluated([20_000, 30_000, 40_000]);
  assert.deepEqual([r2, doubted], [1 - 30_000, []]);
  assert.deepEqual((await evaluated([500, 600, 90_000])).doubted, []);
  // One client alone is doubted.
  const alone = await evaluated([1, 1, 90_000]);
  assert.deepEqual([alone.r2, alone.doubted], [0, ["2", "2"]]);
});

test("what models are judged by is said of each client by itself, but for those that are doubted", async () => {
  const { spread } = await evaluated([0.25, 0.5, 3]);
  assert.ok(Math.abs(spread!.mean - (1 - 3.75 / 3)) < 1e-9 && spread!.worstTenth === -2);
  assert.deepEqual((await evaluated([1, 1, 90_000])).spread, { mean: 0, worstTenth: 0 });
});
