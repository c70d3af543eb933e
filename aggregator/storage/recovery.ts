import * as v from "valibot";
import { ConfigError } from "../../runtime/errors.js";
import { LedgerRecord } from "./history.js";
import { MAGIC, readJournal } from "./journal.js";
import type { Blob, CommitRecord, Opened } from "./ledger.js";

// What a journal on disk says after a crash.

export interface Understood {
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
export function understand(path: string, bytes: Uint8Array): Understood {
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
export async function lastGood(
  folder: string,
  read: Understood,
  notes: string[],
  readBlob: (sha256: string) => Promise<Blob | undefined>,
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
    const model = await readBlob(record.commit.model);
    const state = await readBlob(record.commit.state);
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
