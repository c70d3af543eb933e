import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import assert from "node:assert/strict";
import { nodeFiles } from "../../../runtime/platform/node-files.js";
import { fileLedger } from "../../../aggregator/storage/files.js";
import {
  genesisRecord,
  type AttemptRecord,
  type Blob,
  type CommitRecord,
  type Ledger,
} from "../../../aggregator/storage/ledger.js";
import { memoryLedger } from "../../../aggregator/storage/memory.js";

const blobOf = (text: string): Blob => {
  const bytes = new TextEncoder().encode(text);
  return { sha256: createHash("sha256").update(bytes).digest("hex"), bytes };
};
const blobsOf = (round: number) => ({
  model: blobOf(`model ${round}`),
  state: blobOf(`state ${round}`),
});
const commitOf = (round: number, clients: string[]): CommitRecord => ({
  round,
  attempt: 1,
  model: blobsOf(round).model.sha256,
  state: blobsOf(round).state.sha256,
  members: clients.map((client) => ({
    client,
    round,
    assignment: `${round} ${client}`,
    sha256: `update ${round} ${client}`,
  })),
  line: { round, accuracy: 0.25 },
});
const attemptOf = (round: number, attempt = 1): AttemptRecord => ({
  round,
  attempt,
  selected: ["a", "b"],
  goal: 2,
  population: 3,
  meanSamples: 12.5,
  maxSamples: 20,
  key: "00".repeat(32),
  mode: "synchronous",
});
const commit = (ledger: Ledger, epoch: number, round: number, who: string[]) =>
  ledger.commit(epoch, commitOf(round, who), blobsOf(round));

/** Every ledger, opened where `folder` is; `again` is the ledger after a restart. */
const LEDGERS: Record<string, (folder: string) => { first: Ledger; again: () => Ledger }> = {
  memory: () => {
    const ledger = memoryLedger();
    return { first: ledger, again: () => ledger };
  },
  files: (folder) => ({
    first: fileLedger(folder),
    again: () => fileLedger(folder),
  }),
};

async function inFolder(work: (folder: string) => Promise<void>) {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-ledger-"));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

for (const [name, make] of Object.entries(LEDGERS)) {
  test(`${name}: a new ledger is empty and has a run`, () =>
    inFolder(async (folder) => {
      const { first } = make(folder);
      const opened = await first.open(blobsOf(0));
      assert.match(opened.run, /^[0-9a-f]{32}$/);
      assert.deepEqual(
        [opened.last.record, opened.attempt, opened.clients, opened.notes],
        [genesisRecord(blobsOf(0)), undefined, [], []],
      );
      assert.equal(first.lastCounted("a"), undefined);
      await first.close();
    }));

  test(`${name}: what was committed is there after a restart, under a new epoch`, () =>
    inFolder(async (folder) => {
      const { first, again } = make(folder);
      const { epoch, run } = await first.open(blobsOf(0));
      await first.register(epoch, { id: "a", samples: 10 });
      await first.register(epoch, { id: "b", samples: null });
      await first.register(epoch, { id: "a", samples: 20 });
      await first.beginAttempt(epoch, attemptOf(1));
      await commit(first, epoch, 1, ["a", "b"]);
      await first.beginAttempt(epoch, attemptOf(2));
      await commit(first, epoch, 2, ["a"]);
      await first.beginAttempt(epoch, attemptOf(3));
      await first.close();

      const second = again();
      const opened = await second.open(blobsOf(0));
      assert.ok(opened.epoch > epoch);
      assert.equal(opened.run, run);
      assert.deepEqual(opened.last.record, commitOf(2, ["a"]));
      assert.deepEqual([...opened.last.model.bytes], [...blobsOf(2).model.bytes]);
      assert.deepEqual([...opened.last.state.bytes], [...blobsOf(2).state.bytes]);
      assert.deepEqual(opened.attempt, attemptOf(3));
      assert.deepEqual(opened.clients, [
        { id: "a", samples: 20 },
        { id: "b", samples: null },
      ]);
      assert.deepEqual(
        opened.history.map(({ round }) => round),
        [0, 1, 2],
      );
      assert.deepEqual(second.lastCounted("a"), commitOf(2, ["a"]).members[0]);
      assert.deepEqual(second.lastCounted("b"), commitOf(1, ["a", "b"]).members[1]);
      await second.close();
    }));

  test(`${name}: an abandoned attempt is not reopened`, () =>
    inFolder(async (folder) => {
      const { first, again } = make(folder);
      const { epoch } = await first.open(blobsOf(0));
      await first.beginAttempt(epoch, attemptOf(1, 1));
      await first.abandonAttempt(epoch, 1, 1);
      await first.close();
      const second = again();
      assert.equal((await second.open(blobsOf(0))).attempt, undefined);
      await second.close();
    }));

  test(`${name}: a stale epoch is refused and leaves nothing`, () =>
    inFolder(async (folder) => {
      const { first, again } = make(folder);
      const { epoch } = await first.open(blobsOf(0));
      await first.close();
      const second = again();
      await second.open(blobsOf(0));
      const stale = { code: "stale-epoch" };
      await assert.rejects(commit(second, epoch, 1, ["a"]), stale);
      await assert.rejects(second.beginAttempt(epoch, attemptOf(1)), stale);
      assert.equal(second.lastCounted("a"), undefined);
      await second.close();
    }));
}

/** A ledger's folder with commits 0 to 4. */
async function fiveCommits(folder: string): Promise<void> {
  const ledger = fileLedger(folder);
  const { epoch } = await ledger.open(blobsOf(0));
  for (let round = 1; round < 5; round++) await commit(ledger, epoch, round, [`client ${round}`]);
  await ledger.close();
}

const journalOf = (folder: string) => join(folder, "journal");

test("files: the blobs of the last three commits are kept", () =>
  inFolder(async (folder) => {
    await fiveCommits(folder);
    assert.deepEqual(
      (await readdir(join(folder, "blobs"))).sort(),
      [2, 3, 4]
        .flatMap((round) => Object.values(blobsOf(round)))
        .map(({ sha256 }) => sha256)
        .sort(),
    );
  }));

test("files: a second server on the folder is refused, until the first is gone", () =>
  inFolder(async (folder) => {
    const first = fileLedger(folder);
    await first.open(blobsOf(0));
    await assert.rejects(fileLedger(folder).open(blobsOf(0)), {
      name: "ConfigError",
      code: "state-locked",
      message: /expected no other server, got one with process id \d+/,
    });
    await first.close();
    // What a server that was killed leaves: a lock with an id that no process has.
    await writeFile(join(folder, "lock"), "process 999999999\n");
    const third = fileLedger(folder);
    await third.open(blobsOf(0));
    await third.close();
  }));

test("files: should a second server come in all the same, the first one stops", () =>
  inFolder(async (folder) => {
    const first = fileLedger(folder);
    const { epoch } = await first.open(blobsOf(0));
    await writeFile(join(folder, "lock"), "process 999999999\n");
    const layer = { ...nodeFiles };
    const second = fileLedger(folder, layer);
    await second.open(blobsOf(0));
    await assert.rejects(commit(first, epoch, 1, ["a"]), {
      code: "stale-epoch",
      message: /another server writes to it/,
    });
    await second.close();
    await first.close();
  }));

test("files: a journal cut anywhere opens with what was whole before the cut", () =>
  inFolder(async (folder) => {
    await fiveCommits(folder);
    const whole = await readFile(journalOf(folder));
    let last = 4;
    for (let size = whole.length; size > 300; size -= 23) {
      await writeFile(journalOf(folder), whole.subarray(0, size));
      const ledger = fileLedger(folder);
      try {
        const opened = await ledger.open(blobsOf(0));
        const round = opened.last.record.round;
        assert.ok(round <= last && round >= 2);
        if (size < whole.length) assert.match(opened.notes.join(" "), /was not finished|^$/);
        last = round;
        await ledger.close();
      } catch (error) {
        // The blobs of the first commits are gone by design, so there is nothing to go back to.
        assert.equal((error as { code?: string }).code, "state-damaged");
        assert.ok(last <= 2);
        last = -1;
      }
    }
    assert.equal(last, -1);
  }));

test("files: any byte of the journal changed is noticed, and never a wrong model used", () =>
  inFolder(async (folder) => {
    await fiveCommits(folder);
    const whole = await readFile(journalOf(folder));
    const models = new Set([2, 3, 4].map((r) => blobsOf(r).model.sha256));
    let refused = 0;
    for (let at = 0; at < whole.length; at += 7) {
      const changed = Uint8Array.from(whole);
      changed[at] ^= 1 << (at % 8);
      await writeFile(journalOf(folder), changed);
      const ledger = fileLedger(folder);
      try {
        const opened = await ledger.open(blobsOf(0));
        assert.notEqual(opened.notes.length, 0, `byte ${at} was not noticed`);
        assert.ok(models.has(opened.last.model.sha256));
        await ledger.close();
      } catch (error) {
        assert.equal((error as { code?: string }).code, "state-damaged");
        refused++;
      }
      // Opening removes the blobs that the cut journal does not name.
      for (const round of [2, 3, 4])
        for (const blob of Object.values(blobsOf(round)))
          await writeFile(join(folder, "blobs", blob.sha256), blob.bytes);
    }
    assert.ok(refused > 0);
  }));

test("files: a damaged checkpoint is replaced by the one before it, saying so", () =>
  inFolder(async (folder) => {
    await fiveCommits(folder);
    await writeFile(join(folder, "blobs", blobsOf(4).state.sha256), "something else");
    const ledger = fileLedger(folder);
    const opened = await ledger.open(blobsOf(0));
    assert.equal(opened.last.record.round, 3);
    assert.deepEqual(opened.notes, [
      "The checkpoint of round 4 is damaged or gone; the one before it is used.",
    ]);
    assert.equal(ledger.lastCounted("client 4"), undefined);
    // And the run continues from there, for good.
    await commit(ledger, opened.epoch, 4, ["x"]);
    await ledger.close();
    const again = fileLedger(folder);
    const reopened = await again.open(blobsOf(0));
    assert.deepEqual([reopened.last.record.members[0].client, reopened.notes], ["x", []]);
    await again.close();
  }));

test("files: a folder without one sound checkpoint is refused with a sentence", () =>
  inFolder(async (folder) => {
    await fiveCommits(folder);
    for (const name of await readdir(join(folder, "blobs")))
      await writeFile(join(folder, "blobs", name), "");
    await assert.rejects(fileLedger(folder).open(blobsOf(0)), {
      name: "ConfigError",
      code: "state-damaged",
      message: /expected at least one sound checkpoint, got none/,
    });
    await writeFile(journalOf(folder), "a text file of somebody else");
    await assert.rejects(fileLedger(folder).open(blobsOf(0)), {
      message: /expected a journal of fedflat, got other bytes/,
    });
  }));
