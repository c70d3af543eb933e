import assert from "node:assert/strict";
import { test } from "node:test";
import { startFleet } from "../../cli/loadtest/fleet.js";
import { readFleet } from "../../cli/loadtest/profile.js";
import { serverFigures, serverWaitsFor } from "../../cli/loadtest/server-figures.js";
import { federation } from "../aggregator/run/federation.js";
import { certificate } from "../connection/certificate.js";

test("a fleet takes part over TLS, under an authority of its own", async (t) => {
  const tls = certificate();
  if (tls === undefined) return t.skip("no openssl here");
  const f = await federation({ gather: 5, rounds: 2 }, {}, { tls });
  try {
    assert.match(f.url, /^wss:/);
    const fleet = startFleet({
      url: f.url,
      ca: tls.cert,
      first: 0,
      clients: 5,
      seed: "1",
      profiles: readFleet("instant"),
      update: { kind: "random" },
      ramp: 0,
    });
    await fleet.done;
    assert.equal(fleet.recording.counted, 10);
    const figures = await serverFigures({ url: f.url, ca: tls.cert }, 5000);
    assert.ok(figures!.memory > 1e6);
    assert.match(
      (await serverWaitsFor({ url: f.url, ca: tls.cert }, 5000))!,
      /all 2 rounds are done/,
    );
    assert.equal(await serverFigures({ url: f.url }, 5000), undefined);
  } finally {
    await f.end();
  }
});
