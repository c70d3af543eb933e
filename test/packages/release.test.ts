import assert from "node:assert/strict";
import { test } from "node:test";
import { repository, startNode } from "../cli/command.js";

test("a dry run of the release says of each condition whether it holds, and publishes nothing", async () => {
  const release = startNode(repository("scripts/release.mjs"), "--dry-run", "--built");
  const { code, stdout, stderr } = await release.ended;
  const lines = stdout.trim().split("\n");
  for (const condition of [
    "the version is a semantic one",
    "the lockfile has the same version",
    "npm is asked for provenance",
    "all packages can be built and packed",
    "each tarball is of this version, and has its licence and readme",
  ])
    assert.ok(lines.includes(`ok      ${condition}`), `${condition}\n${stdout}`);
  const failed = lines.filter((line) => line.startsWith("not ok"));
  assert.equal(code, failed.length === 0 ? 0 : 1);
  if (failed.length > 0) assert.match(stderr, /^fedflat \S+ cannot be published yet\.\n$/);
  else assert.match(lines.at(-1)!, /can be published: npm run release$/);
});
