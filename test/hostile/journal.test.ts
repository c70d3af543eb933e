import assert from "node:assert/strict";
import { readFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { federation } from "../aggregator/run/federation.js";

test("a member that comes back with another number of samples each time does not fill the journal", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-journal-"));
  try {
    const f = await federation({ gather: 3, minimum: 3 }, { folder });
    try {
      for (let line = 1; line <= 50; line++) (await f.client("a", { samples: line })).cut();
      const [member] = f.aggregator.clients();
      assert.equal(member.samples, 50);
    } finally {
      await f.end();
    }
    const journal = await readFile(join(folder, "state", "journal"), "latin1");
    assert.equal(journal.split('"type":"client"').length - 1, 1);
  } finally {
    await rm(folder, { recursive: true });
  }
});
