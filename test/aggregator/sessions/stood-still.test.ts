import assert from "node:assert/strict";
import { test } from "node:test";
import { federation, logged } from "../run/federation.js";

test("a server that stood still takes nobody for silent on waking", async (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const f = await federation({ heartbeat: 1_000 });
  try {
    const client = await f.client("a");
    // As a process is that was stopped: its clock has gone on, and its timers come late.
    now += 65_000;
    await client.next("ping");
    assert.equal(client.closed, undefined);
    assert.equal(logged(f, /silent connection/), undefined);
  } finally {
    t.mock.restoreAll();
    await f.end();
  }
});
