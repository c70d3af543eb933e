import assert from "node:assert/strict";
import { test } from "node:test";
import { SOURCES, textOf } from "./documents/tree.js";

/** What plays a slow network, a flood, or a patience that ends is made of time. */
const MADE_OF_TIME = [
  "test/until.ts",
  "test/sleeps.test.ts",
  "test/faults/proxy.ts",
  "test/hostile/flooder.ts",
  "test/aggregator/run/raw-client.ts",
];

test("no test waits by the clock: it awaits an event or polls with until()", () => {
  const sleeping = SOURCES.filter(
    (path) =>
      path.startsWith("test/") &&
      !MADE_OF_TIME.includes(path) &&
      /new Promise[^;]*=>\s*setTimeout\(|import \{[^}]*\bsetTimeout\b[^}]*\} from "node:timers\/promises"/.test(
        textOf(path),
      ),
  );
  assert.deepEqual(sleeping, []);
});
