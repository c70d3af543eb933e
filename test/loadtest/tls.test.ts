import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startFleet } from "../../cli/loadtest/fleet.js";
import { readFleet } from "../../cli/loadtest/profile.js";
import {
  serverFigures,
  serverWaitsFor,
} from "../../cli/loadtest/server-figures.js";
import { federation } from "../aggregator/federation.js";

/** A certificate for this machine, or nothing where there is no openssl. */
function certificate(): { cert: string; key: string } | undefined {
  const folder = mkdtempSync(join(tmpdir(), "fedflat-tls-"));
  const [key, cert] = [join(folder, "key"), join(folder, "cert")];
  try {
    execFileSync(
      "openssl",
      `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout ${key} -out ${cert}`.split(
        " ",
      ),
      { stdio: "ignore" },
    );
    return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  } catch {
    return undefined;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

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
