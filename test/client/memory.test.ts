import assert from "node:assert/strict";
import { test } from "node:test";
import { deviceCost } from "../../bench/device-cost.js";

test("a Node client that trains the CIFAR network at batch 50 stays within 180 MB", async () => {
  const { peakMegabytes } = await deviceCost("cifar");
  assert.ok(peakMegabytes <= 180, `${peakMegabytes} MB`);
});
