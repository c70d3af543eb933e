import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { federation } from "../aggregator/run/federation.js";
import { updateFor } from "../aggregator/run/raw-client.js";

const httpOf = (url: string) => url.replace(/^ws/, "http");

/** Prometheus's text form: `name{labels}` to its value. */
function samplesOf(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line && line[0] !== "#");
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

const scrape = async (url: string, token?: string) => {
  const headers = token ? { authorization: `Bearer ${token}` } : undefined;
  return fetch(`${httpOf(url)}/metrics`, { headers });
};

test("/metrics tells what became of a federation, and names no client", async () => {
  const f = await federation({ gather: 3, rounds: 2, quorum: 0.6 });
  try {
    const good = [await f.client("a"), await f.client("b")];
    const bad = await f.client("c");
    bad.send({ type: "ready" });
    const ends = good.map((client) => client.work((_, model) => updateFor(model, () => 0.5)));
    const { assignment } = await bad.next("assign");
    bad.send({ type: "failed", assignment, code: "diverged" });
    const again = await bad.next("assign");
    bad.send({
      type: "failed",
      assignment: again["assignment"],
      code: "made-up-by-the-client",
    });
    await Promise.all(ends);
    const answer = await scrape(f.url);
    assert.match(answer.headers.get("content-type")!, /^text\/plain/);
    const text = await answer.text();
    for (const { id } of [...good, bad])
      assert.ok(!text.includes(id.slice(0, 8)), "a client is named");
    const samples = samplesOf(text);
    const value = (name: string) => samples.get(name) ?? NaN;
    const expected: Record<string, number> = {
      fedflat_round: 2,
      'fedflat_rounds_total{outcome="committed"}': 2,
      'fedflat_updates_total{result="counted",code=""}': 4,
      'fedflat_updates_total{result="missed",code="failed-diverged"}': 1,
      'fedflat_updates_total{result="missed",code="other"}': 1,
      'fedflat_round_phase_seconds_count{phase="collect"}': 2,
      'fedflat_round_phase_seconds_count{phase="finish"}': 2,
      'fedflat_round_phase_seconds_count{phase="commit"}': 2,
      fedflat_round_seconds_count: 2,
      fedflat_fold_seconds_count: 4,
      fedflat_client_training_seconds_count: 4,
      fedflat_update_norm_count: 4,
      fedflat_bytes_in_flight: 0,
      fedflat_lines: 3,
      'fedflat_clients{state="training"}': 0,
    };
    assert.deepEqual(Object.fromEntries(Object.keys(expected).map((k) => [k, value(k)])), expected);
    // 15 numbers of one half each.
    const norm = 4 * Math.sqrt(15 * 0.25);
    assert.ok(Math.abs(value("fedflat_update_norm_sum") - norm) < 1e-6);
    const trained = value("fedflat_client_training_seconds_sum");
    assert.ok(Math.abs(trained - 0.4) < 1e-9);
    const update = updateFor(await good[0].fetch(good[0].welcome!["model"]), () => 0);
    assert.equal(value("fedflat_update_bytes_total"), 4 * update.length);
    const received = 'fedflat_frame_bytes_total{direction="received"}';
    assert.ok(value(received) > 4 * update.length);
    assert.ok(value("nodejs_eventloop_lag_p99_seconds") >= 0);
  } finally {
    await f.end();
  }
});

test("every figure of the Grafana dashboard is one that the aggregator gives", async () => {
  const f = await federation();
  try {
    const text = await (await scrape(f.url)).text();
    const dashboard = JSON.parse(
      readFileSync(new URL("../../../examples/grafana/fedflat.json", import.meta.url), "utf8"),
    ) as { panels: { targets: { expr: string }[] }[] };
    const named = dashboard.panels
      .flatMap(({ targets }) => targets)
      .flatMap(({ expr }) => expr.match(/\b(fedflat|process|nodejs)_\w+/g) ?? []);
    assert.ok(named.length > 15);
    for (const name of named)
      assert.ok(text.includes(`# TYPE ${name.replace(/_bucket$/, "")} `), name);
  } finally {
    await f.end();
  }
});

test("/metrics is for who may look at the run", async () => {
  const admission = { kind: "token", token: "of-the-lab" } as const;
  const f = await federation({}, { admission }, { host: "0.0.0.0", hosts: ["fl.example.org"] });
  const url = f.url.replace("0.0.0.0", "127.0.0.1");
  try {
    assert.equal((await scrape(url)).status, 401);
    assert.equal((await scrape(url, "guess")).status, 401);
    assert.equal((await scrape(url, "of-the-lab")).status, 200);
    const client = await f.client("a", { token: "of-the-lab" });
    // What a client may fetch models with opens nothing else.
    assert.equal((await scrape(url, client.welcome!["bearer"])).status, 401);
  } finally {
    await f.end();
  }
});
