import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Aggregator, type RoundRecord } from "../../../aggregator/run/aggregator.js";
import { epsilonOf } from "../../../aggregator/privacy/accountant.js";
import { fileLedger } from "../../../aggregator/storage/files.js";
import type { Ledger } from "../../../aggregator/storage/ledger.js";
import { stateFolder } from "../../../aggregator/storage/run-folder.js";
import { readMetadata } from "../../../runtime/tensors/safetensors.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { federation, tinyModel, type Federation } from "./federation.js";
import { readBlob, updateFor, type Message } from "./raw-client.js";

const PRIVATE: GivenSettings = { dpNoise: 1, dpClip: 2, gather: 2, rounds: 2 };
const epsilonAfter = (rounds: number, noise = 1, delta = 1e-5) =>
  epsilonOf([{ sampling: 1, noise, rounds }], delta);

/** Every number of the update is the client's number. */
const all = (value: number) => (_: Message, model: Uint8Array) => updateFor(model, () => value);

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-private-"));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Two clients take part until the run's end. */
async function run(f: Federation, values = [1, -0.25]) {
  const rounds: RoundRecord[] = [];
  f.aggregator.on("round", (record) => rounds.push(record));
  const clients = await Promise.all(
    values.map((_, i) => f.client(`private ${i}`, { samples: 10 + i })),
  );
  void Promise.allSettled(clients.map((client, i) => client.work(all(values[i]))));
  return { rounds, ending: await f.aggregator.done };
}

test("a private round adds clipped updates of equal weight over a fixed number, and noise", async () => {
  // So little noise that the sum shows; two of at most four came.
  const f = await federation({ ...PRIVATE, rounds: 1, dpNoise: 0.01, dpClients: 4 });
  try {
    const { ending } = await run(f);
    const [kernel] = readBlob(ending.model);
    // 15 numbers: a norm of sqrt(15) is clipped to 2, one of 0.97 is not; whatever their samples.
    const expected = (2 / Math.sqrt(15) - 0.25) / 4;
    const moved = [...kernel.data].map((x, i) => x - i / 8);
    for (const move of moved) assert.ok(Math.abs(move - expected) < 0.03, `${move}`);
    assert.ok(new Set(moved).size > 1, "no noise");
  } finally {
    await f.end();
  }
});

test("epsilon is told in record, status, sentence, metrics and the model's card", () =>
  inFolder(async (folder) => {
    const f = await federation({ ...PRIVATE, dpBudget: 100 }, { folder });
    try {
      const { rounds, ending } = await run(f);
      const after = [1, 2].map((n) => epsilonAfter(n));
      assert.deepEqual(
        rounds.map(({ epsilon }) => epsilon),
        after,
      );
      const spent = { epsilon: after[1], delta: 1e-5 };
      assert.deepEqual(f.aggregator.status().privacy, spent);
      assert.match(f.aggregator.status().bears, /epsilon 6\.573 so far at delta 0\.00001, of 100/);
      assert.match(f.aggregator.status().bears, /The aggregator itself sees every update/);
      const page = await fetch(`${f.url.replace(/^ws/, "http")}/metrics`);
      assert.match(await page.text(), new RegExp(`fedflat_epsilon ${spent.epsilon}`));
      assert.deepEqual(JSON.parse(readMetadata(ending.model)["privacy"]), spent);
      const card = JSON.parse(await readFile(join(folder, "model/model.json"), "utf8")) as object;
      assert.deepEqual((card as { privacy?: unknown }).privacy, spent);
      const lines = await readFile(join(folder, "rounds.jsonl"), "utf8");
      assert.match(lines, new RegExp(`"epsilon":${spent.epsilon}`));
    } finally {
      await f.end();
    }
  }));

test("a run ends before its budget would be passed, and says so", async () => {
  const f = await federation({ ...PRIVATE, rounds: 50, dpBudget: epsilonAfter(3) });
  try {
    const { ending } = await run(f);
    assert.deepEqual([ending.reason, ending.rounds], ["finished", 3]);
    assert.match(ending.message, /the privacy budget of epsilon .* allows 3 of the 50 rounds/);
  } finally {
    await f.end();
  }
});

test("a budget that allows more rounds than can be counted leaves the run those asked for", async () => {
  const settings = { ...PRIVATE, normalise: "none", evaluateFraction: 0, dpBudget: 10 } as const;
  for (const rounds of [3, 2 ** 40]) {
    const aggregator = await Aggregator.open({
      model: tinyModel(),
      settings: { ...settings, dpNoise: 1e5, rounds },
    });
    const { committed, rounds: left } = aggregator.status();
    const within = Math.min(rounds, left + 1);
    await aggregator.stop();
    assert.equal(committed, 0);
    assert.ok(left <= rounds && epsilonAfter(left, 1e5) <= 10);
    assert.ok(within === rounds || epsilonAfter(within, 1e5) > 10);
  }
});

test("nothing that depends on a client's data leaves a private run beside its model", async () => {
  const f = await federation(PRIVATE);
  const heard: string[] = [];
  for (const event of ["progress", "counted", "doubted", "refused", "missed", "round"] as const)
    f.aggregator.on(event, (...said: unknown[]) => heard.push(JSON.stringify(said)));
  try {
    await run(f);
    const secrets = /"(lossBefore|lossAfter|activationNorms|samples|norm|clipped|loss|batches)"/;
    for (const said of [...heard, ...f.log.map((line) => JSON.stringify(line))])
      assert.doesNotMatch(said, secrets);
    assert.doesNotMatch(heard.join(), /trainSeconds/);
    assert.ok(heard.length >= 6);
    for (const { samples } of f.aggregator.status().clients) assert.equal(samples, null);
    const page = await fetch(`${f.url.replace(/^ws/, "http")}/metrics`);
    assert.match(await page.text(), /fedflat_update_norm_count 0/);
  } finally {
    await f.end();
  }
});

test("why a client cannot take part in a private round is kept back", async () => {
  const f = await federation({ ...PRIVATE, rounds: 1, minimum: 1, dpClients: 2 });
  const heard: string[] = [];
  for (const event of ["missed", "refused", "abandoned"] as const)
    f.aggregator.on(event, (said: unknown) => heard.push(JSON.stringify(said)));
  try {
    const [well, ill] = [await f.client("well"), await f.client("ill")];
    for (const client of [well, ill]) client.send({ type: "ready" });
    const { assignment } = await ill.next("assign");
    ill.send({ type: "failed", assignment, code: "diverged", message: "a loss of 1e30" });
    void well.work(all(1)).catch(() => {});
    await f.aggregator.done.then(() => {});
    const told = [...heard, ...f.log.map((line) => JSON.stringify(line))].join();
    assert.match(told, /a client failed its assignment/);
    assert.doesNotMatch(told, /diverged|1e30/);
    assert.doesNotMatch(JSON.stringify(f.aggregator.status()), /diverged|1e30/);
  } finally {
    await f.end();
  }
});

test("what a client's data keeps it from is kept back before it is asked, too", async () => {
  const f = await federation({ ...PRIVATE, minimum: 2 }, { clientsAreAll: true });
  const heard: unknown[] = [];
  f.aggregator.on("client", (change) => change.change === "busy" && heard.push(change));
  try {
    const [low, ill, few] = [await f.client("low"), await f.client("ill"), await f.client("few")];
    for (const [client, reason, code] of [
      [low, "a secret place", null],
      [ill, "7 examples", "data"],
      [few, "8 examples", "data"],
    ] as const) {
      const said = new Promise((resolve) => f.aggregator.once("client", resolve));
      client.send({ type: "busy", reason, code });
      await said;
    }
    const { reason, message } = await f.aggregator.done;
    assert.equal(reason, "failed");
    assert.match(message, /too few clients can train: .*declined/);
    assert.deepEqual(heard, [
      { client: low.id, change: "busy" },
      { client: ill.id, change: "busy", code: "other" },
      { client: few.id, change: "busy", code: "other" },
    ]);
    const told = [message, ...f.log.map((line) => JSON.stringify(line))].join();
    assert.match(told, /a client cannot take part/);
    assert.doesNotMatch(told, /examples|secret|"data"/);
  } finally {
    await f.end();
  }
});

test("with unprotected metrics they are shown as in any run", async () => {
  const f = await federation({ ...PRIVATE, unprotectedMetrics: true });
  try {
    const { rounds } = await run(f);
    assert.equal(rounds[0].samples, 21);
    assert.notEqual(rounds[0].lossAfter, undefined);
  } finally {
    await f.end();
  }
});

const REFUSED: readonly [string, GivenSettings, RegExp][] = [
  ["a clip is missing", { dpClip: undefined }, /"dpClip" expected the norm/],
  ["a clip stands alone", { dpNoise: undefined }, /"dpClip" expected dpNoise beside it/],
  ["clients keep state", { algorithm: "feddyn" }, /noise would pile up/],
  ["EF21 keeps state", { algorithm: "memory", codec: "topk" }, /noise would pile up/],
  ["a rule picks", { aggregate: "median", hostile: 0 }, /"aggregate" expected mean/],
  ["rounds are buffered", { mode: "buffered" }, /"mode" expected synchronous/],
  ["statistics come first", { normalise: "channels" }, /"normalise" expected none/],
  ["another clip", { clipUpdateNorm: 1 }, /"clipUpdateNorm" expected 0/],
  ["norms are refused", { maxNorm: 1 }, /"maxNorm" expected 0/],
  [
    "the budget is too small",
    { dpBudget: 0.1 },
    /"dpBudget" expected at least 4\.\d+ for the first/,
  ],
];
for (const [why, settings, message] of REFUSED)
  test(`privacy is refused at the start where ${why}`, async () => {
    const all = { evaluateFraction: 0, normalise: "none", ...PRIVATE, ...settings } as const;
    await assert.rejects(Aggregator.open({ model: tinyModel(), settings: all }), message);
  });

test("a crash between charge and model charges again, and never less", () =>
  inFolder(async (folder) => {
    const crashing = (): Ledger => ({
      ...fileLedger(stateFolder(folder)),
      commit: () => Promise.reject(new Error("the power went")),
    });
    for (let life = 1; life <= 2; life++) {
      const f = await federation(PRIVATE, { folder, ledger: crashing(), resume: life > 1 });
      const { ending } = await run(f);
      assert.deepEqual([ending.reason, ending.rounds], ["failed", 0]);
      await f.end();
    }
    const f = await federation(PRIVATE, { folder, resume: true });
    try {
      assert.equal(f.aggregator.privacy?.epsilon, epsilonAfter(2));
      const { rounds } = await run(f);
      assert.deepEqual(
        rounds.map(({ epsilon }) => epsilon),
        [epsilonAfter(3), epsilonAfter(4)],
      );
    } finally {
      await f.end();
    }
  }));

test("a charge that cannot be written lets no noise be drawn", async () => {
  const { memoryLedger } = await import("../../../aggregator/storage/memory.js");
  const ledger = memoryLedger();
  ledger.charge = () => Promise.reject(new Error("no room"));
  const f = await federation(PRIVATE, { ledger });
  try {
    const { ending } = await run(f);
    assert.deepEqual([ending.reason, ending.rounds], ["failed", 0]);
    assert.equal(f.aggregator.privacy?.epsilon, 0);
  } finally {
    await f.end();
  }
});

test("a run is resumed with the privacy it was begun with", () =>
  inFolder(async (folder) => {
    const f = await federation({ ...PRIVATE, rounds: 1 }, { folder });
    await run(f);
    await f.end();
    const { dpNoise: _, dpClip: __, ...open } = PRIVATE;
    await assert.rejects(federation(open, { folder, resume: true }), /differential privacy/);
  }));

test("charges outlive the checkpoint of their round, and damage that may hide one is refused", () =>
  inFolder(async (folder) => {
    const f = await federation(PRIVATE, { folder });
    const { ending } = await run(f);
    assert.equal(ending.rounds, 2);
    const { sha256 } = f.aggregator.model;
    await f.end();
    const state = stateFolder(folder);
    // The last model cannot be read any more: the run goes back to the one before.
    await writeFile(join(state, "blobs", sha256), "broken");
    const again = await federation({ ...PRIVATE, rounds: 1 }, { folder, resume: true });
    assert.equal(again.aggregator.committed, 1);
    assert.equal(again.aggregator.privacy?.epsilon, epsilonAfter(2));
    await again.end();
    const journal = await readFile(join(state, "journal"));
    const at = journal.lastIndexOf('"charge"');
    journal[at + 3] ^= 1;
    await writeFile(join(state, "journal"), journal);
    await assert.rejects(
      federation(PRIVATE, { folder, resume: true }),
      /its epsilon cannot be told/,
    );
  }));
