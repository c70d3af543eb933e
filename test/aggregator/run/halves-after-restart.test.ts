import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { federation } from "./federation.js";

const SETTINGS = { modelCodec: "float16", gather: 1, minimum: 1, quorum: 1, rounds: 2 } as const;
const READS = { models: ["float32", "float16"] };

test("after a restart a client is given the model in the form that it was given before", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-halves-"));
  try {
    const models: unknown[] = [];
    for (const resume of [false, true]) {
      const f = await federation(SETTINGS, { folder, resume });
      try {
        const client = await f.client("a", READS);
        client.send({ type: "ready" });
        const { model, round } = await client.next("assign");
        assert.equal(round, 1);
        models.push(model);
        assert.notDeepEqual(model, {
          sha256: f.aggregator.model.sha256,
          bytes: f.aggregator.model.bytes.length,
        });
      } finally {
        await f.end();
      }
    }
    assert.deepEqual(models[1], models[0]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
