import assert from "node:assert/strict";
import { test } from "node:test";
import { grown, soak } from "./soak.js";

// `npm run soak` does 10,000 rounds.
test("rounds after rounds in one process: memory, tensors, handles and file descriptors stay as they are", async () => {
  assert.deepEqual(grown(await soak(300, 6)), []);
});
