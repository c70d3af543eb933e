import { FedflatError } from "../../runtime/errors.js";
import type { FileLayer } from "../../runtime/platform/node-files.js";
import { isFullDisk, storageError } from "./disk.js";
import type { LedgerRecord } from "./history.js";
import { frame } from "./journal.js";

/** The journal's file, open for more records. */
export interface Journal {
  /**
   * @throws FedflatError `storage-full`: the file is as it was, and the record can be tried again;
   * `stale-epoch`, `storage-failed`: nothing more may be written
   */
  append(record: LedgerRecord, durable: boolean): Promise<void>;
  close(): Promise<void>;
}

/** Opens the journal behind its last record, where the file is `length` bytes long. */
export async function openJournal(
  folder: string,
  files: FileLayer,
  last: { readonly length: number; readonly hash: Uint8Array },
): Promise<Journal> {
  const path = `${folder}/journal`;
  let { length, hash } = last;
  const file = await files.open(path, "append");

  /** After a failed write: a full disk can be waited for if the half record goes away. */
  async function withdraw(error: unknown): Promise<FedflatError> {
    const sentence = `"${path}" cannot be written any more (${(error as Error).message}): restart, and the ledger goes back to what is on disk`;
    if (!isFullDisk(error)) return storageError(folder, error, sentence);
    try {
      await file.truncate(length);
      await file.sync();
      return storageError(folder, error, sentence);
    } catch {
      // What the disk holds is not known any more.
      return new FedflatError("storage-failed", sentence, { cause: error });
    }
  }

  return {
    async append(record, durable) {
      const framed = frame(JSON.stringify(record), hash);
      // The lock keeps a second server out; should one have come in all the same, the one that was
      // first stops here.
      const size = await files.size(path);
      if (size !== length)
        throw new FedflatError(
          "stale-epoch",
          `"${path}" expected ${length} bytes, got ${size}: another server writes to it`,
        );
      try {
        await file.write(framed.bytes);
        if (durable) await file.sync();
      } catch (error) {
        throw await withdraw(error);
      }
      length += framed.bytes.length;
      ({ hash } = framed);
    },
    close: () => file.close(),
  };
}
