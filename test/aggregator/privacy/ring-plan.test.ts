import assert from "node:assert/strict";
import { test } from "node:test";
import { ringPlan } from "../../../aggregator/privacy/ring-plan.js";
import { plans } from "../../secure/secagg-vectors.js";

for (const { n, corrupt, dropout, k, t } of plans)
  test(`the ring of ${n}, ${corrupt} corrupt and ${dropout} dropped, is the reference's`, () => {
    assert.deepEqual(ringPlan(n, { corrupt, dropout }), t === null ? undefined : { k, t });
  });
