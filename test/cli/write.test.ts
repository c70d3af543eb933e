import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { writeWhole } from "../../cli/write.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-write-"));
after(() => rmSync(folder, { recursive: true }));

test("runs that end at the same time write one table, and the last one stays", async () => {
  const path = join(folder, "results.csv");
  await Promise.all(Array.from({ length: 20 }, (_, k) => writeWhole(path, `run ${k}\n`)));
  assert.equal(readFileSync(path, "utf8"), "run 19\n");
  assert.deepEqual(readdirSync(folder), ["results.csv"]);
});

test("a write that fails is said, and the next one is done", async () => {
  const missing = writeWhole(join(folder, "nowhere", "a.csv"), "a");
  const path = join(folder, "b.csv");
  const next = writeWhole(path, "b");
  await assert.rejects(missing, { code: "ENOENT" });
  await next;
  assert.equal(readFileSync(path, "utf8"), "b");
});
