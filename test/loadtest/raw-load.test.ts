import assert from "node:assert/strict";
import { test } from "node:test";
import { startFleet } from "../../cli/loadtest/fleet.js";
import { readFleet } from "../../cli/loadtest/profile.js";
import { federation } from "../aggregator/run/federation.js";
import { rawLoad } from "./raw-load.js";

// How long things take is compared by `npm run bench -- fleet`; here, that both see the same
// federation.
test("the load tester and an independent script finish the same rounds", async () => {
  const settings = { gather: 15, rounds: 3 };
  const counts: number[] = [];
  for (const load of ["raw", "light"] as const) {
    const f = await federation(settings);
    try {
      if (load === "raw") counts.push((await rawLoad(f.url, 15)).length);
      else {
        const fleet = startFleet({
          url: f.url,
          first: 0,
          clients: 15,
          seed: "1",
          profiles: readFleet("instant"),
          update: { kind: "random" },
          ramp: 0,
        });
        await fleet.done;
        counts.push(fleet.recording.samples.roundTrip.length);
      }
      assert.equal((await f.aggregator.done).reason, "finished");
    } finally {
      await f.end();
    }
  }
  assert.deepEqual(counts, [45, 45]);
});
