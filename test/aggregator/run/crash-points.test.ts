import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { fileLedger } from "../../../aggregator/storage/files.js";
import type { Blob, CommitRecord, Ledger, Opened } from "../../../aggregator/storage/ledger.js";
import { crashesOf, FOLDER, nameOf, type Crash } from "../../faults/crash-points.js";
import { simulatedDisk, type Disk } from "../../faults/disk.js";

const blobOf = (text: string): Blob => {
  const bytes = new TextEncoder().encode(text);
  return { sha256: createHash("sha256").update(bytes).digest("hex"), bytes };
};
const checkpointOf = (round: number, life: number) => ({
  model: blobOf(`model ${round} of life ${life}`),
  state: blobOf(`state ${round}`),
});

const ROUNDS = 4;

/** Resumes a run to its last round; says what was acknowledged as committed, by round. */
async function goOn(disk: Disk, life: number, acknowledged: Map<number, string>): Promise<void> {
  const ledger = fileLedger(FOLDER, disk);
  try {
    const { epoch, ...opened } = await ledger.open(checkpointOf(0, life));
    await commitAll(ledger, epoch, opened, life, acknowledged);
  } finally {
    // What a process that ends does, so that the next one finds no lock.
    await ledger.close().catch(() => {});
  }
}

async function commitAll(
  ledger: Ledger,
  epoch: number,
  { last, charges }: Pick<Opened, "last" | "charges">,
  life: number,
  acknowledged: Map<number, string>,
): Promise<void> {
  const newest = Math.max(0, ...acknowledged.keys());
  // What is published has been charged, whatever was lost.
  for (let round = 1; round <= last.record.round; round++)
    assert.ok(
      charges.some((charge) => charge.round === round),
      `round ${round} is not charged`,
    );
  assert.ok(
    last.record.round === newest || last.record.round === newest + 1,
    `acknowledged ${newest}, found ${last.record.round}`,
  );
  for (const [round, sha256] of acknowledged)
    if (round === last.record.round) assert.equal(last.model.sha256, sha256);
  // Durable, though nobody was told: it counts from now on.
  if (last.record.round > newest) acknowledged.set(last.record.round, last.model.sha256);
  assert.equal(createHash("sha256").update(last.model.bytes).digest("hex"), last.record.model);
  for (let round = last.record.round + 1; round <= ROUNDS; round++) {
    await ledger.beginAttempt(epoch, {
      round,
      attempt: 1,
      selected: ["a"],
      goal: 1,
      population: 1,
      meanSamples: 1,
      maxSamples: 1,
      key: "00",
      mode: "synchronous",
    });
    const checkpoint = checkpointOf(round, life);
    const record: CommitRecord = {
      round,
      attempt: 1,
      model: checkpoint.model.sha256,
      state: checkpoint.state.sha256,
      members: [{ client: "a", round, assignment: "x", sha256: `${life}` }],
      line: { round },
    };
    await ledger.charge(epoch, { round, attempt: 1, noise: 1, sampling: 1 });
    await ledger.commit(epoch, record, checkpoint);
    acknowledged.set(round, checkpoint.model.sha256);
  }
}

async function callsOfAWholeRun(): Promise<readonly string[]> {
  const disk = simulatedDisk();
  await goOn(disk, 1, new Map());
  return disk.calls;
}

/** The disk as the next process finds it; all faults are over. */
function nextDisk(disk: Disk, { call, survival }: Crash): Disk {
  if (survival !== undefined) return disk.afterPowerCut(survival, call);
  disk.break(Infinity, "fail");
  return disk;
}

for (const kind of ["fail", "short", "full", "cut"] as const)
  test(`a ledger whose disk has the fault "${kind}" at any call loses no acknowledged round`, async () => {
    const calls = await callsOfAWholeRun();
    assert.ok(calls.length > 60);
    for (const crash of crashesOf(calls).filter(({ fault }) => fault === kind))
      try {
        const acknowledged = new Map<number, string>();
        const disk = simulatedDisk();
        disk.break(crash.call, crash.fault);
        // Some failures are mended on the way (what is swept up); the others are said.
        await goOn(disk, 1, acknowledged).catch((error: Error) =>
          assert.match(error.message, /full disk|cannot be written|simulated|expected a folder/),
        );
        const after = nextDisk(disk, crash);
        await goOn(after, 2, acknowledged);
        assert.equal(acknowledged.size, ROUNDS);
        await goOn(after.afterPowerCut("synced"), 3, acknowledged);
      } catch (cause) {
        throw new Error(`${nameOf(crash)} (${calls[crash.call]})`, { cause });
      }
  });

test("a full disk can be tried again once there is room", async () => {
  const disk = simulatedDisk();
  const ledger = fileLedger(FOLDER, disk);
  const { epoch } = await ledger.open(checkpointOf(0, 1));
  const checkpoint = checkpointOf(1, 1);
  const record: CommitRecord = {
    round: 1,
    attempt: 1,
    model: checkpoint.model.sha256,
    state: checkpoint.state.sha256,
    members: [],
    line: {},
  };
  disk.break(disk.calls.length, "full");
  await assert.rejects(ledger.commit(epoch, record, checkpoint), {
    code: "storage-full",
  });
  disk.break(Infinity, "full");
  await ledger.commit(epoch, record, checkpoint);
  await ledger.close();
  const again = fileLedger(FOLDER, disk.afterPowerCut("synced"));
  const { last } = await again.open(checkpointOf(0, 1));
  assert.equal(last.record.round, 1);
});
