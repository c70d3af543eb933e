import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startFleet, type FleetOptions } from "../../cli/loadtest/fleet.js";
import { profileOf, readFleet } from "../../cli/loadtest/profile.js";
import type { Report } from "../../cli/loadtest/report.js";
import { writeBase } from "../../runtime/models/base.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialModel } from "../../runtime/models/initial.js";
import { loadModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { takeShare } from "../../runtime/models/shares.js";
import { holdOut } from "../../runtime/training/batches.js";
import { federation, type Federation } from "../aggregator/run/federation.js";
import { updateFor } from "../aggregator/run/raw-client.js";
import { localRound, smallModel } from "../bundle/local-round.js";
import { trainerHere } from "../training/engines.js";

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL("../../cli/main.js", import.meta.url));

async function withFleet(
  f: Federation,
  options: Partial<FleetOptions>,
): Promise<ReturnType<typeof startFleet>> {
  const fleet = startFleet({
    url: f.url,
    first: 0,
    clients: 20,
    seed: "1",
    profiles: readFleet("instant"),
    update: { kind: "random" },
    ramp: 0,
    ...options,
  });
  await f.aggregator.done;
  await fleet.done;
  return fleet;
}

/** The profile with its faults, in a file as a user writes it. */
async function profiles(kinds: object): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-profiles-"));
  const file = join(folder, "fleet.json");
  await writeFile(file, JSON.stringify(kinds));
  return file;
}

test("light clients take part in whole rounds: every update is counted", async () => {
  const f = await federation({ gather: 20, rounds: 3, evaluateFraction: 1 });
  try {
    const { recording } = await withFleet(f, {});
    assert.deepEqual([recording.counted, recording.rounds, recording.finished], [60, 3, 20]);
    assert.deepEqual(recording.errors, {});
    for (const figure of ["connect", "download", "train", "upload"] as const)
      assert.ok(recording.samples[figure].length >= 20, figure);
    assert.equal(recording.samples.roundTrip.length, 60);
    assert.equal((await f.aggregator.done).reason, "finished");
    const here = Object.values(recording.states).reduce((a, b) => a + b);
    assert.equal(here, 0);
  } finally {
    await f.end();
  }
});

test("an update is counted also where its client has other work by then, as in buffered rounds", async () => {
  const f = await federation({
    mode: "buffered",
    buffer: 4,
    concurrency: 8,
    gather: 8,
    rounds: 6,
    evaluateFraction: 1,
  });
  try {
    const { recording } = await withFleet(f, { clients: 8 });
    assert.deepEqual([recording.counted, recording.rounds], [24, 6]);
    assert.equal(recording.samples.roundTrip.length, 24);
    assert.deepEqual(recording.errors, {});
  } finally {
    await f.end();
  }
});

/** The first layer is frozen, the last one each client's own, and between them values run. */
const partly = initialModel(
  {
    description: parseDescription({
      input: [4],
      layers: [
        { type: "dense", units: 5, frozen: true },
        { type: "batchNorm" },
        { type: "dense", units: 4 },
        { type: "dense", units: 3, personal: true },
      ],
    }),
    classes: ["a", "b", "c"],
  },
  "1",
);

for (const settings of [{ batchNorm: "average" }, { batchNorm: "average", codec: "int8" }] as const)
  test(`frozen and personal layers, and running values: ${JSON.stringify(settings)}`, async () => {
    const f = await federation(
      { gather: 6, minimum: 6, quorum: 1, rounds: 2, evaluateFraction: 1, ...settings },
      { model: partly },
    );
    try {
      const { recording } = await withFleet(f, {
        clients: 6,
        profiles: readFleet("instant:4,huge:2"),
      });
      assert.deepEqual([recording.errors, recording.refused], [{}, {}]);
      assert.equal(recording.counted, 12);
      const { weights } = loadModel(f.aggregator.model.bytes, writeBase(partly));
      const { shares } = networkOf(partly.description);
      // Every client sent the running values that the model had.
      assert.deepEqual(takeShare(shares.fixed, weights), takeShare(shares.fixed, partly.weights));
      assert.notDeepEqual(
        takeShare(shares.shared, weights),
        takeShare(shares.shared, partly.weights),
      );
    } finally {
      await f.end();
    }
  });

test("recorded updates are replayed, byte for byte", async () => {
  const f = await federation({ gather: 4, rounds: 1 });
  try {
    const blob = updateFor(f.aggregator.model.bytes, () => 0.25);
    const before = new Float32Array(f.aggregator.model.bytes.slice(-4).buffer);
    const fleet = await withFleet(f, {
      clients: 4,
      update: { kind: "replay", blobs: [blob] },
    });
    assert.equal(fleet.recording.counted, 4);
    const { model } = await f.aggregator.done;
    const after = new Float32Array(model.slice(-4).buffer);
    assert.equal(after[0] - before[0], 0.25);
  } finally {
    await f.end();
  }
});

test("clients that train say how many samples they train on, and evaluate on those they hold out", async () => {
  const f = await federation(
    { gather: 3, rounds: 1, localEpochs: 1, evaluateFraction: 1 },
    { model: smallModel() },
  );
  const trainer = await trainerHere("simd");
  try {
    const { dataset } = localRound().part;
    const parts = [9, 15].map((count) =>
      holdOut({ dataset, rows: Uint32Array.from({ length: count }, (_, i) => i) }, 0.1, "1"),
    );
    const recorded: [number, number, string][] = [];
    let evaluated = 0;
    let folded: string[] = [];
    f.aggregator.on("round", ({ updates }) => {
      folded = [...updates];
    });
    f.aggregator.on("evaluation", ({ federated }) => {
      evaluated = federated!.count;
    });
    const fleet = await withFleet(f, {
      clients: 3,
      update: {
        kind: "train",
        trainers: [trainer],
        parts,
        record: async (client, round, update) =>
          void recorded.push([client, round, createHash("sha256").update(update).digest("hex")]),
      },
    });
    assert.deepEqual(fleet.recording.errors, {});
    assert.equal(fleet.recording.counted, 3);
    // The third client has the first one's part again.
    const [nine, fifteen] = parts.map(({ test }) => test.rows.length);
    assert.equal(evaluated, 2 * nine + fifteen);
    assert.deepEqual(
      recorded.map(([client, round]) => [client, round]).sort(),
      [0, 1, 2].map((client) => [client, 1]),
    );
    assert.deepEqual(recorded.map(([, , hash]) => hash).sort(), folded.sort());
  } finally {
    trainer.close();
    await f.end();
  }
});

test("devices that are late beyond the test's end keep no process alive", async () => {
  const f = await federation({ gather: 2, rounds: 1, deadline: 600_000 });
  try {
    const file = await profiles({ late: { faulty: { late: 1 } } });
    // A machine too busy to connect in this time lets it end with 1.
    const { stdout } = await run(process.execPath, [
      MAIN,
      "loadtest",
      f.url,
      ...["--clients", "2", "--duration", "2", "--workers", "2", "--json"],
      ...["--profiles", file],
    ]).catch((error: { stdout: string }) => error);
    assert.match(stdout, /"updates":0/);
    await rm(join(file, ".."), { recursive: true });
  } finally {
    await f.end();
  }
});

test("faulty devices are refused for what is wrong with them, and the round goes on", async () => {
  const f = await federation({
    gather: 12,
    rounds: 1,
    quorum: 0.5,
    deadline: 3000,
  });
  try {
    const file = await profiles({
      good: { share: 6, faulty: { duplicate: 1 } },
      nan: { share: 3, faulty: { nan: 1 } },
      shape: { share: 3, faulty: { shape: 1 } },
    });
    const mixes = readFleet(file);
    const count = (name: string) =>
      Array.from({ length: 12 }, (_, i) => profileOf(mixes, i)).filter((mix) => mix.name === name)
        .length;
    const { recording } = await withFleet(f, { clients: 12, profiles: mixes });
    assert.deepEqual(recording.faults, {
      dropOut: 0,
      late: 0,
      duplicate: count("good"),
      shape: count("shape"),
      nan: count("nan"),
    });
    assert.deepEqual([recording.refused, recording.errors], [{}, {}]);
    assert.equal(recording.counted, count("good"));
    await rm(join(file, ".."), { recursive: true });
  } finally {
    await f.end();
  }
});

for (const codec of ["float16", "int8"])
  test(`${codec}: an update that is no number is refused as the fault that it is`, async () => {
    const f = await federation({ codec, gather: 4, rounds: 1, quorum: 0.5, deadline: 2000 });
    try {
      const file = await profiles({
        good: { share: 2 },
        nan: { share: 2, faulty: { nan: 1 } },
      });
      const mixes = readFleet(file);
      const bad = Array.from({ length: 4 }, (_, i) => profileOf(mixes, i)).filter(
        ({ name }) => name === "nan",
      ).length;
      const { recording } = await withFleet(f, { clients: 4, profiles: mixes });
      assert.equal(recording.faults.nan, bad);
      assert.deepEqual([recording.refused, recording.errors], [{}, {}]);
      assert.equal(recording.counted, 4 - bad);
      await rm(join(file, ".."), { recursive: true });
    } finally {
      await f.end();
    }
  });

test("devices on a slow line that breaks come back and finish", async () => {
  const f = await federation({ gather: 6, rounds: 2, absence: 5000 });
  try {
    const file = await profiles({
      rural: {
        computeSeconds: [0.05, 0.2],
        upload: 20_000,
        download: 50_000,
        latency: [5, 20],
        dropOut: 1,
        awaySeconds: 0.1,
      },
    });
    const fleet = await withFleet(f, { clients: 6, profiles: readFleet(file) });
    const { counted, samples, faults, errors } = fleet.recording;
    assert.equal(counted, 12);
    const breaks = samples.connect.length - 6;
    assert.ok(breaks > 0, "no line broke");
    assert.equal(faults.dropOut, breaks);
    assert.deepEqual(errors, {});
    await rm(join(file, ".."), { recursive: true });
  } finally {
    await f.end();
  }
});

test("the command reports as JSON and as a page that needs nothing else", async () => {
  const f = await federation({ gather: 10, rounds: 2 });
  const folder = await mkdtemp(join(tmpdir(), "fedflat-load-"));
  try {
    const page = join(folder, "load.html");
    const { stdout } = await run(process.execPath, [
      MAIN,
      "loadtest",
      f.url,
      ...["--clients", "10", "--duration", "200", "--workers", "2"],
      ...["--report", page, "--json"],
    ]);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { event: string } & Report);
    const report = lines.find(({ event }) => event === "report")!;
    assert.equal(report.updates, 20);
    assert.equal(report.rounds, 2);
    assert.equal(report.times.connect?.count, 10);
    assert.deepEqual(report.errors, {});
    assert.deepEqual([report.profiles, report.update], ["instant", "random"]);
    assert.ok(report.server!.memory > 1e6);
    const html = await readFile(page, "utf8");
    assert.equal(html.match(/<svg/g)?.length, 5);
    assert.doesNotMatch(html, /(src|href)="?http|NaN|undefined/);
  } finally {
    await rm(folder, { recursive: true });
    await f.end();
  }
});

test("a mistake ends in one sentence", async () => {
  const fails = async (args: string[], sentence: RegExp) => {
    const error = await run(process.execPath, [MAIN, "loadtest", ...args]).then(
      () => assert.fail("no error"),
      (error: { code: number; stderr: string }) => error,
    );
    assert.match(error.stderr, sentence);
    assert.equal(error.stderr.trim().split("\n").length, 1);
  };
  const nobody = "ws://127.0.0.1:9";
  await fails(
    [nobody, "--duration", "0.5", "--clients", "2"],
    /expected an aggregator that takes clients at ws:\/\/127\.0\.0\.1:9/,
  );
  await fails([nobody, "--profiles", "tank"], /"--profiles" expected/);
  await fails([nobody, "--update", "replay"], /"--updates" expected/);
  await fails([nobody, "--update", "train"], /"--data" expected/);
  await fails([nobody, "--data", "x"], /"--data" expected --update train/);
  await fails([nobody, "--report", "nowhere/x.html"], /"nowhere\/x.html" exp/);
  await fails(["http://x"], /expected an address such as ws:/);
});

test("hostile light clients push the mean off, and not a median that is told of them", async () => {
  const farOff = async (settings: object) => {
    const f = await federation({ gather: 10, minimum: 10, quorum: 1, rounds: 2, ...settings });
    try {
      const before = loadModel(f.aggregator.model.bytes).weights;
      const { recording } = await withFleet(f, {
        clients: 10,
        profiles: readFleet("instant:7,huge:3"),
      });
      assert.equal(recording.counted, 20);
      const after = loadModel(f.aggregator.model.bytes).weights;
      return Math.max(...after.map((w, i) => Math.abs(w - before[i])));
    } finally {
      await f.end();
    }
  };
  assert.ok((await farOff({})) > 100);
  assert.ok((await farOff({ aggregate: "median", hostile: 3 })) < 0.1);
});
