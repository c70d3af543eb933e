import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { profileOf, readFleet } from "../../cli/loadtest/profile.js";
import { newRecording, STATES } from "../../cli/loadtest/recording.js";
import { duration, htmlOf, reportOf, textOf, type Moment } from "../../cli/loadtest/report.js";
import { checkSettings } from "../../cli/settings.js";

const load = {
  url: "ws://127.0.0.1:7400",
  clients: 20,
  profiles: "phone:80,<b>",
  update: "random",
  seed: 1,
  begun: "2026-01-01T00:00:00.000Z",
};

/** As after a test of so many seconds. */
function recorded(seconds: number) {
  const recording = newRecording();
  for (let i = 1; i <= 2000; i++) recording.samples.upload.push(i * i);
  recording.arrived = 15;
  recording.counted = 2000;
  recording.faults.dropOut = 3;
  recording.faults.nan = 1;
  recording.refused.late = 7;
  recording.errors["line lost: no welcome in time"] = 2;
  recording.errors["ended: replaced"] = 1;
  const states = newRecording().states;
  const moments = Array.from({ length: seconds }, (_, i): Moment => ({
    seconds: i + 1,
    states: { ...states, idle: 20 },
    counted: i,
    memory: 1e8,
    server: { cpuSeconds: i / 10, memory: 2e8, lag: i === 4321 ? 999 : 5 },
  }));
  return { recording, moments, report: reportOf(load, recording, moments, 1) };
}

test("what the profiles asked for stands apart from what was refused and from errors", () => {
  const { report } = recorded(10);
  const text = textOf(report, Infinity);
  assert.match(text, /^15 of 20 clients \(/);
  assert.match(text, /As the profiles ask: 3 drop-outs, 1 NaN update\./);
  assert.match(text, /Refused by the aggregator: late \(7\)\./);
  assert.match(text, /Errors: line lost: no welcome in time \(2\), ended: replaced \(1\)\./);
  assert.match(text, /a --seed of its own/);
  assert.doesNotMatch(text, /ulimit/);
});

test("a report for a terminal keeps within its columns", () => {
  const { report } = recorded(10);
  for (const columns of [40, 60, 80, 120])
    for (const line of textOf(report, columns).split("\n"))
      assert.ok(line.length <= columns, `${columns}: ${line}`);
});

test("times are said in the unit that they have", () => {
  assert.deepEqual(
    [0.04, 9.94, 9.96, 999.4, 999.6, 9994, 9996, 999_940, 999_960].map(duration),
    "0.0 ms,9.9 ms,10 ms,999 ms,1.00 s,9.99 s,10.0 s,999.9 s,1000 s".split(","),
  );
});

test("the page of a day's test is small, and keeps the worst second", () => {
  const { recording, moments, report } = recorded(86_400);
  const html = htmlOf(report, recording, moments);
  assert.ok(html.length < 500_000);
  assert.match(html, /phone:80,&lt;b&gt;/);
  for (const tick of ["1 ms", "100 ms", "10 s", "1000 s"])
    assert.ok(html.includes(`>${tick}</text>`), tick);
  assert.ok(html.includes(">1,000</text>"), "the axis of the lag ends there");
  for (const state of STATES) assert.ok(html.includes(`>${state}</text>`));
});

test("the page of a test that reached nobody has no empty charts", () => {
  const moments = recorded(3).moments.map((moment) => ({
    ...moment,
    server: undefined,
  }));
  const report = reportOf(load, newRecording(), moments, 1);
  const html = htmlOf(report, newRecording(), moments);
  assert.equal(html.match(/<svg/g)?.length, 3);
  assert.doesNotMatch(html, /<table|How long|NaN|undefined|−/);
});

test("a mistake in a fleet's file names the place", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-profiles-"));
  const file = join(folder, "fleet.json");
  for (const [content, sentence] of [
    [{}, /"profiles" in ".*" expected an object with at least one kind/],
    [[], /"profiles" in ".*" expected an object with at least one kind/],
    [{ a: { share: 0 } }, /"profiles" in .* share above 0, got/],
    [{ a: 3 }, /"a" in ".*" expected Object, got 3/],
    [{ a: { preset: "tank" } }, /"a.preset" .* "phone" .*, got "tank"/],
    [{ a: { upload: "fast" } }, /"a.upload" in .* expected number, got "fast"/],
    [{ a: { speed: 3 } }, /"a.speed" .* no such key, but share, .*upload/],
    [{ a: { latency: [9, 1] } }, /"a.latency" .* smaller one first, got \[9,1\]/],
    [{ a: { latency: [9] } }, /"a.latency" .* smaller one first, got \[9\]/],
    [{ a: { faulty: { nan: 2 } } }, /"a.faulty.nan" .* expected <=1, got 2/],
  ] as const) {
    await writeFile(file, JSON.stringify(content));
    assert.throws(() => readFleet(file), { code: "usage", message: sentence });
  }
  await rm(folder, { recursive: true });
});

test("of 50 devices of each preset, serve's quorum is far from being lost", () => {
  const { quorum, absence } = checkSettings("serve", {});
  for (const preset of ["instant", "phone", "gateway", "flaky-rural"]) {
    const { dropOut, awaySeconds, faulty } = profileOf(readFleet(preset), 0).profile;
    const [least, most] = [awaySeconds].flat().concat(awaySeconds);
    const long = Math.max(0, most - absence / 1000) / (most - least || 1);
    assert.equal(faulty.late ?? 0, 0, "who is late holds the round up");
    const lost = dropOut * long + (faulty.nan ?? 0);
    // The mean and three deviations of a binomial.
    const bound = 50 * lost + 3 * Math.sqrt(50 * lost * (1 - lost));
    assert.ok(bound < 50 * (1 - quorum), `${preset}: ${bound}`);
  }
});
