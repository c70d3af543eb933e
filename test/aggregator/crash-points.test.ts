import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { FileLayer } from "../../aggregator/storage/file-layer.js";
import { fileLedger } from "../../aggregator/storage/files.js";
import type { Blob, CommitRecord } from "../../aggregator/storage/ledger.js";

/**
 * A disk in memory that knows what would survive: bytes that were synced, and names whose folder was. `fault` is asked before
 * every operation that changes something.
 */
class Disk {
  operations = 0;
  #off = false;
  /** What is on the platter, and what programs see. */
  #durable = new Map<string, Uint8Array>();
  #seen = new Map<string, { bytes: Uint8Array; synced: Uint8Array }>();
  readonly #fault: (operation: number) => Fault | undefined;

  constructor(fault: (operation: number) => Fault | undefined) {
    this.#fault = fault;
  }

  /** What stays after the power is cut now; half of what was not synced may have reached the platter. */
  survivors(keepHalf: boolean): Disk {
    const after = new Disk(() => undefined);
    for (const [path, bytes] of this.#durable) {
      const seen = this.#seen.get(path);
      let kept = bytes;
      if (keepHalf && seen !== undefined && seen.synced === bytes) {
        const half = (seen.bytes.length + bytes.length) >> 1;
        if (half > bytes.length) kept = seen.bytes.subarray(0, half);
      }
      after.#durable.set(path, kept);
      after.#seen.set(path, { bytes: kept, synced: kept });
    }
    return after;
  }

  readonly layer: FileLayer = {
    read: async (path) => {
      this.#check();
      return this.#seen.get(path)?.bytes;
    },
    size: async (path) => {
      this.#check();
      return this.#seen.get(path)?.bytes.length ?? 0;
    },
    list: async (folder) => {
      this.#check();
      return [...this.#seen.keys()]
        .filter((path) => path.startsWith(`${folder}/`))
        .map((path) => path.slice(folder.length + 1))
        .filter((name) => !name.includes("/"));
    },
    makeFolder: async () => this.#check(),
    open: async (path, how) => {
      if (how === "exclusive" && this.#seen.has(path))
        throw Object.assign(new Error("exists"), { code: "EEXIST" });
      this.#change();
      const old = this.#seen.get(path);
      const file =
        how === "append" && old
          ? old
          : { bytes: new Uint8Array(), synced: new Uint8Array() };
      this.#seen.set(path, file);
      return {
        write: async (bytes) => {
          const fault = this.#change(true);
          const part = fault === "short" ? bytes.length >> 1 : bytes.length;
          file.bytes = Buffer.concat([
            file.bytes as Uint8Array<ArrayBuffer>,
            bytes.slice(0, part),
          ]);
          if (fault !== undefined) throw full();
        },
        truncate: async (length) => {
          this.#change();
          file.bytes = file.bytes.slice(0, length);
        },
        sync: async () => {
          this.#change();
          file.synced = file.bytes;
          if (this.#durable.has(path) || how === "append")
            this.#durable.set(path, file.synced);
        },
        close: async () => {},
      };
    },
    rename: async (from, to) => {
      this.#change();
      const file = this.#seen.get(from)!;
      this.#seen.delete(from);
      this.#seen.set(to, file);
    },
    remove: async (path) => {
      this.#change();
      this.#seen.delete(path);
    },
    syncFolder: async (folder) => {
      this.#change();
      for (const [path, { synced }] of this.#seen)
        if (path.startsWith(`${folder}/`)) this.#durable.set(path, synced);
      for (const path of this.#durable.keys())
        if (path.startsWith(`${folder}/`) && !this.#seen.has(path))
          this.#durable.delete(path);
    },
  };

  #check(): void {
    if (this.#off) throw new Error("the power is off");
  }

  /** One operation that changes the disk; `true` where a short write is possible. */
  #change(canBeShort = false): Fault | undefined {
    this.#check();
    const fault = this.#fault(this.operations++);
    if (fault === "cut") {
      this.#off = true;
      throw new Error("the power is off");
    }
    if (fault !== undefined && !canBeShort) throw full();
    return fault;
  }
}

/** `cut`: the power goes. `full`: ENOSPC. `short`: ENOSPC after half of the bytes. */
type Fault = "cut" | "full" | "short";

const full = () =>
  Object.assign(new Error("no space left on device"), { code: "ENOSPC" });

const blobOf = (text: string): Blob => {
  const bytes = new TextEncoder().encode(text);
  return { sha256: createHash("sha256").update(bytes).digest("hex"), bytes };
};
const checkpointOf = (round: number, life: number) => ({
  model: blobOf(`model ${round} of life ${life}`),
  state: blobOf(`state ${round}`),
});

const ROUNDS = 4;

/** Goes on with a run to its last round; says what was acknowledged as committed, by round. */
async function goOn(
  disk: Disk,
  life: number,
  acknowledged: Map<number, string>,
): Promise<void> {
  const ledger = fileLedger("/run", disk.layer);
  const { epoch, last } = await ledger.open(checkpointOf(0, life));
  const newest = Math.max(0, ...acknowledged.keys());
  assert.ok(
    last.record.round === newest || last.record.round === newest + 1,
    `acknowledged ${newest}, found ${last.record.round}`,
  );
  for (const [round, sha256] of acknowledged)
    if (round === last.record.round) assert.equal(last.model.sha256, sha256);
  assert.equal(
    createHash("sha256").update(last.model.bytes).digest("hex"),
    last.record.model,
  );
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
    await ledger.commit(epoch, record, checkpoint);
    acknowledged.set(round, checkpoint.model.sha256);
  }
  await ledger.close();
}

async function operationsOfAWholeRun(): Promise<number> {
  const disk = new Disk(() => undefined);
  await goOn(disk, 1, new Map());
  return disk.operations;
}

for (const keepHalf of [false, true])
  test(`the power cut at every file operation loses no acknowledged round${keepHalf ? ", with half-written bytes" : ""}`, async () => {
    const operations = await operationsOfAWholeRun();
    assert.ok(operations > 60);
    for (let at = 0; at < operations; at++) {
      const acknowledged = new Map<number, string>();
      const disk = new Disk((operation) =>
        operation === at ? "cut" : undefined,
      );
      await assert.rejects(goOn(disk, 1, acknowledged), `operation ${at}`);
      const after = disk.survivors(keepHalf);
      await goOn(after, 2, acknowledged);
      assert.equal(acknowledged.size, ROUNDS);
      await goOn(after.survivors(false), 3, acknowledged);
    }
  });

for (const fault of ["full", "short"] as const)
  test(`a disk that is full at any operation (${fault}) loses no acknowledged round`, async () => {
    const operations = await operationsOfAWholeRun();
    for (let at = 0; at < operations; at++) {
      const acknowledged = new Map<number, string>();
      const disk = new Disk((operation) =>
        operation === at ? fault : undefined,
      );
      // Some failures are mended on the way (what is swept up); the others are said.
      await goOn(disk, 1, acknowledged).catch((error: Error) =>
        assert.match(error.message, /full disk|cannot be written|no space/),
      );
      await goOn(disk.survivors(true), 2, acknowledged);
      assert.equal(acknowledged.size, ROUNDS);
    }
  });

test("a full disk can be tried again once there is room", async () => {
  let space = true;
  const disk = new Disk(() => (space ? undefined : "short"));
  const ledger = fileLedger("/run", disk.layer);
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
  space = false;
  await assert.rejects(ledger.commit(epoch, record, checkpoint), {
    code: "storage-full",
  });
  space = true;
  await ledger.commit(epoch, record, checkpoint);
  await ledger.close();
  const again = fileLedger("/run", disk.survivors(false).layer);
  const { last } = await again.open(checkpointOf(0, 1));
  assert.equal(last.record.round, 1);
});
