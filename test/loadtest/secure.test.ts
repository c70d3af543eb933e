import assert from "node:assert/strict";
import { test } from "node:test";
import { startFleet, type RunningFleet } from "../../cli/loadtest/fleet.js";
import { readFleet, type Profile } from "../../cli/loadtest/profile.js";
import { SECURE_PHASES } from "../../aggregator/rounds/participants.js";
import { loadModel } from "../../runtime/models/model.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { federation, type Federation } from "../aggregator/run/federation.js";
import { updateFor } from "../aggregator/run/raw-client.js";

// Masks are real: a sum whose masks do not cancel out is no number near what was sent.

const SECURE: GivenSettings = {
  secure: true,
  secureRange: 1,
  secureDeadline: 20_000,
  gather: 8,
  minimum: 6,
  quorum: 0.7,
  rounds: 2,
};

const weightsOf = (f: Federation) => loadModel(f.aggregator.model.bytes.slice()).weights.slice();

/** Light clients that all send 0.25 for every number. */
const light = (
  f: Federation,
  differing: Partial<Profile> = {},
  { first, clients } = { first: 0, clients: 8 },
): RunningFleet =>
  startFleet({
    ...{ url: f.url, first, clients, seed: "1", ramp: 0, secureOnly: true },
    profiles: readFleet("instant").map((mix) => ({
      ...mix,
      profile: { ...mix.profile, ...differing },
    })),
    update: { kind: "replay", blobs: [updateFor(f.aggregator.model.bytes, () => 0.25)] },
  });

test("light clients mask their updates, and the model moves by the mean of what they sent", async () => {
  const f = await federation(SECURE);
  try {
    const before = weightsOf(f);
    const fleet = light(f);
    await f.aggregator.done;
    await fleet.done;
    const { counted, errors, refused, phases, samples } = fleet.recording;
    assert.deepEqual([counted, errors, refused], [16, {}, {}]);
    weightsOf(f).forEach((weight, i) =>
      // A step is 1 / (2^28 - 1), and a weight a float32.
      assert.ok(Math.abs(weight - before[i] - 0.5) < 1e-6, String(weight - before[i])),
    );
    for (const phase of SECURE_PHASES) {
      assert.equal(samples[phase].length, 16, phase);
      assert.equal(phases[phase].answers, 16, phase);
    }
    assert.ok(phases.masked.up >= 16 * 4 * before.length);
  } finally {
    await f.end();
  }
});

test("light clients that lose their connection come back into the same secure round", async () => {
  const f = await federation({ ...SECURE, absence: 10_000 });
  try {
    const before = weightsOf(f);
    const fleet = light(f, { dropOut: 1, awaySeconds: [0.1, 0.1], computeSeconds: [0.05, 0.1] });
    await f.aggregator.done;
    await fleet.done;
    const { counted, errors, faults } = fleet.recording;
    assert.deepEqual([counted, errors], [16, {}]);
    assert.ok(faults.dropOut > 0);
    weightsOf(f).forEach((weight, i) => assert.ok(Math.abs(weight - before[i] - 0.5) < 1e-6));
  } finally {
    await f.end();
  }
});

test("clients of secure rounds alone decline another", async () => {
  const f = await federation({ gather: 8, minimum: 8, rounds: 1 });
  try {
    const fleet = light(f);
    await new Promise<void>((resolve) => f.aggregator.once("abandoned", () => resolve()));
    fleet.stop();
    assert.equal(fleet.recording.counted, 0);
    assert.deepEqual(Object.keys(fleet.recording.errors), ["declined: a round that is not secure"]);
  } finally {
    await f.end();
  }
});

test("on a ring of 140, those who leave between two phases are left out, and the sum is right", async () => {
  const f = await federation({
    ...SECURE,
    ...{ gather: 140, minimum: 140, rounds: 1, quorum: 0.9, secureDropout: 0.15 },
    ...{ deadline: 600_000, secureDeadline: 600_000 },
  });
  try {
    const before = weightsOf(f);
    const staying = light(f, {}, { first: 0, clients: 130 });
    const leaving = light(f, {}, { first: 130, clients: 10 });
    const phases = (): unknown[] => f.log.flatMap(({ phase }) => phase ?? []);
    f.aggregator.on("abandoned", ({ reason }) => assert.fail(reason));
    // Their keys are known and their secrets dealt, but their updates are in no sum.
    const push = f.log.push.bind(f.log);
    f.log.push = (line) => {
      if (line["phase"] === "masked") leaving.stop();
      return push(line);
    };
    await f.aggregator.done;
    await staying.done;
    const { counted, errors } = staying.recording;
    assert.deepEqual([counted, errors], [130, {}]);
    assert.deepEqual(phases(), ["keys", "shares", "masked", "unmask"]);
    weightsOf(f).forEach((weight, i) => assert.ok(Math.abs(weight - before[i] - 0.25) < 1e-5));
  } finally {
    await f.end();
  }
});
