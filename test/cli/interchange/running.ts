import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Imported } from "../../../cli/interchange/imported.js";
import { modelOf } from "../../../cli/interchange/imported.js";
import { nodePlatform } from "../../../runtime/platform/node.js";
import { weightedOf } from "../../../runtime/training/job.js";
import { trainerOf } from "../../../runtime/training/trainer.js";

/** Files that others made; each folder has their licence. */
export const MODELS = fileURLToPath(new URL("../../../../test/data/models/", import.meta.url));

const trainer = trainerOf(nodePlatform({ relaxedSimd: false }).startWorker);
export const close = (): void => trainer.close();

/** What our own plan gives of examples end to end. */
export const outputsOf = (imported: Imported, inputs: Float32Array): Promise<Float32Array> =>
  trainer.predict({ ...weightedOf(modelOf(imported)), inputs });

/** Numbers between -1 and 1, the same every time. */
export const numbers = (size: number, phase = 0): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(1.7 * i + phase + 0.3 * (i % 7)));

export function assertNear(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  within = 1e-4,
  what = "outputs",
): void {
  assert.equal(actual.length, expected.length, `${what}: how many`);
  for (let i = 0; i < expected.length; i++)
    assert.ok(
      Math.abs(actual[i] - expected[i]) <= within * Math.max(1, Math.abs(expected[i])),
      `${what}: place ${i} expected ${expected[i]}, got ${actual[i]}`,
    );
}
