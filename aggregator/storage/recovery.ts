import { randomBytes } from "node:crypto";
import * as v from "valibot";
import { ConfigError } from "../../runtime/errors.js";
import { writeWhole, type FileLayer } from "../../runtime/platform/node-files.js";
import type { BlobFolder } from "./blob-folder.js";
import { emptyHistory, LedgerRecord, remember, type History } from "./history.js";
import { FIRST, frame, MAGIC, readJournal } from "./journal.js";
import { genesisRecord, type Checkpoint, type CommitRecord, type Opened } from "./ledger.js";

/** What a ledger's folder says, once its journal ends where all of it is sound. */
interface Recovered {
  readonly history: History;
  readonly last: Opened["last"];
  /** Bytes of the journal, and the hash of its last record. */
  readonly length: number;
  readonly hash: Uint8Array;
  /** The highest epoch ever written, also among records that were cut off. */
  readonly highestEpoch: number;
  /** What was found and mended, in sentences. */
  readonly notes: readonly string[];
}

/**
 * Reads a ledger's folder as a crash may have left it, and cuts its journal off behind the last
 * good record; a folder without a journal begins with `genesis`.
 * @throws ConfigError `state-damaged`; FedflatError `storage-full`, `storage-failed`
 */
export async function recover(
  folder: string,
  files: FileLayer,
  blobs: BlobFolder,
  genesis: Checkpoint,
): Promise<Recovered> {
  const notes: string[] = [];
  const path = `${folder}/journal`;
  const bytes = (await files.read(path)) ?? (await begin(path, blobs, genesis));
  const read = understand(path, bytes);
  const { last, end } = await lastGood(folder, read, notes, blobs);
  const tail = Buffer.from(bytes.subarray(read.good));
  const isPrivate =
    read.records.some(({ record }) => record.type === "charge") ||
    ['"charge"', '"epsilon"'].some((word) => tail.includes(word));
  if (read.damaged && isPrivate)
    throw new ConfigError(
      "state-damaged",
      `"${path}" expected every charge of a run with differential privacy, got damage at byte ${read.good}, behind which some may lie: its epsilon cannot be told any more`,
    );
  // What is cut off is kept aside, so that it can be looked at.
  if (end < bytes.length) await writeWhole(files, folder, "journal.cut", bytes.subarray(end));
  // Written again, because what is read may never have reached the disk: after a failed sync it is
  // in memory alone, and no later sync writes it.
  const kept = read.records.filter((record) => record.end <= end);
  let { hash } = kept[kept.length - 1];
  const parts = [bytes.subarray(0, end)];
  // Models that a damaged checkpoint takes back were published all the same.
  for (const cut of read.records) {
    if (cut.end <= end || cut.record.type !== "charge") continue;
    const framed = frame(JSON.stringify(cut.record), hash);
    parts.push(framed.bytes);
    ({ hash } = framed);
    kept.push(cut);
  }
  const journal = parts.length === 1 ? parts[0] : Buffer.concat(parts);
  await writeWhole(files, folder, "journal", journal);
  const history = emptyHistory();
  for (const { record } of kept) remember(history, record);
  const { length } = journal;
  return { history, last, length, hash, highestEpoch: read.highestEpoch, notes };
}

/**
 * The bytes of a new journal, its first checkpoint in place. A crash before the journal has its
 * name leaves nothing that counts.
 */
async function begin(path: string, blobs: BlobFolder, genesis: Checkpoint): Promise<Uint8Array> {
  // More than the two blobs of a first checkpoint: rounds were committed here.
  const whole = await blobs.names();
  if (whole.length > 2)
    throw new ConfigError(
      "state-damaged",
      `"${path}" expected the journal of the ${whole.length} blobs beside it, got no such file`,
    );
  await blobs.put(genesis.model);
  await blobs.put(genesis.state);
  const run = frame(
    JSON.stringify({ type: "run", run: randomBytes(16).toString("hex") } satisfies LedgerRecord),
    FIRST,
  );
  const commit = frame(
    JSON.stringify({ type: "commit", commit: genesisRecord(genesis) } satisfies LedgerRecord),
    run.hash,
  );
  return Buffer.concat([MAGIC, run.bytes, commit.bytes]);
}

interface Understood {
  readonly records: readonly {
    readonly record: LedgerRecord;
    readonly end: number;
    readonly hash: Uint8Array;
  }[];
  readonly good: number;
  readonly size: number;
  readonly damaged: boolean;
  readonly highestEpoch: number;
}

/** @throws ConfigError `state-damaged` where it is no journal of ours. */
function understand(path: string, bytes: Uint8Array): Understood {
  const fail = (got: string): never => {
    throw new ConfigError("state-damaged", `"${path}" expected a journal of fedflat, got ${got}`);
  };
  if (MAGIC.some((byte, i) => bytes[i] !== byte)) fail("other bytes");
  const { records, good, damaged } = readJournal(bytes);
  const read = records.map(({ payload, end, hash }) => {
    let json: unknown;
    try {
      json = JSON.parse(payload);
    } catch {
      fail(`a record without meaning before byte ${end}`);
    }
    const record = v.safeParse(LedgerRecord, json);
    if (!record.success) return fail(`a record of an unknown form before byte ${end}`);
    return { record: record.output, end, hash };
  });
  // The journal is made with these two in it, so their absence is no crash's doing.
  if (read[0]?.record.type !== "run" || read[1]?.record.type !== "commit")
    fail("damaged first records");
  const highestEpoch = read.reduce(
    (most, { record }) => (record.type === "epoch" ? Math.max(most, record.epoch) : most),
    0,
  );
  return { records: read, good, size: bytes.length, damaged, highestEpoch };
}

/**
 * The newest commit whose blobs are sound, and where the journal is to end so that it says the
 * same.
 */
async function lastGood(
  folder: string,
  read: Understood,
  notes: string[],
  blobs: BlobFolder,
): Promise<{ last: Opened["last"]; end: number }> {
  const { records, good, size, damaged } = read;
  if (good < size)
    notes.push(
      damaged
        ? `The journal is damaged at byte ${good} of ${size}; what follows was cut off.`
        : `The journal's last record was not finished; ${size - good} bytes were cut off.`,
    );
  const commits = records.filter(
    (r): r is typeof r & { record: { type: "commit"; commit: CommitRecord } } =>
      r.record.type === "commit",
  );
  for (const { record, end } of [...commits].reverse()) {
    const model = await blobs.read(record.commit.model);
    const state = await blobs.read(record.commit.state);
    if (model && state) {
      const newest = record.commit === commits.at(-1)!.record.commit;
      return {
        last: { record: record.commit, model, state },
        end: newest ? good : end,
      };
    }
    notes.push(
      `The checkpoint of round ${record.commit.round} is damaged or gone; the one before it is used.`,
    );
  }
  throw new ConfigError(
    "state-damaged",
    `"${folder}" expected at least one sound checkpoint, got none (${notes.join(" ")})`,
  );
}
