import assert from "node:assert/strict";
import { test } from "node:test";
import { workersOf } from "../../runtime/client/workers.js";
import type { WorkerPort } from "../../runtime/platform/platform.js";
import type { PredictJob } from "../../runtime/training/job.js";

test("predictions wait for one another, also where the work beside which they began is over", async () => {
  let started = 0;
  const workers = workersOf(undefined, () => {
    started++;
    const port: WorkerPort = { post() {}, terminate() {} };
    return port;
  });
  const job = { layout: [], weights: [], inputs: new Float32Array() } as unknown as PredictJob;
  workers.update({ running: true, working: true });
  void workers.predict(job).catch(() => {});
  workers.update({ working: false });
  void workers.predict(job).catch(() => {});
  await new Promise(setImmediate);
  assert.equal(started, 1);
});
