import { randomBytes } from "node:crypto";
import { ConfigError, FedflatError } from "../../runtime/errors.js";
import {
  lock,
  nodeFiles,
  writeWhole,
  type FileLayer,
  type WritableFile,
} from "../../runtime/platform/node-files.js";
import { inWords } from "../../runtime/platform/system-errors.js";
import { serial } from "../../runtime/serial.js";
import { emptyHistory, remember, type LedgerRecord } from "./history.js";
import { FIRST, frame, MAGIC } from "./journal.js";
import { genesisRecord, type Blob, type Checkpoint, type Ledger, type Opened } from "./ledger.js";
import { requireEpoch } from "./memory.js";
import { openBlobFolder } from "./blob-folder.js";
import { lastGood, understand } from "./recovery.js";

/** Checkpoints kept: the newest, and those to fall back on should it turn out damaged. */
const KEPT = 3;

/**
 * The ledger in a folder: `journal` (see journal.ts), `blobs/<sha256>` and `lock`. Blobs are
 * durable before the record that names them is written, so whatever the moment of a crash, what the
 * journal says is there.
 */
export function fileLedger(folder: string, files: FileLayer = nodeFiles): Ledger {
  const blobs = openBlobFolder(`${folder}/blobs`, files);
  let history = emptyHistory();
  let journal: WritableFile | undefined;
  let length = 0;
  let previous = FIRST;
  let broken: FedflatError | undefined;
  let unlock = async () => {};
  const queue = serial();

  /** Does one write after the other, each only in the epoch it was meant for. */
  function inTurn<T>(epoch: number, work: () => Promise<T>): Promise<T> {
    return queue.run(() => {
      requireEpoch(epoch, history.epoch);
      if (broken !== undefined) throw broken;
      if (journal === undefined) throw new FedflatError("closed", `"ledger" expected to be open`);
      return work();
    });
  }

  async function append(record: LedgerRecord, durable: boolean): Promise<void> {
    const { bytes, hash } = frame(JSON.stringify(record), previous);
    // The lock keeps a second server out; should one have come in all the same, the one that was
    // first stops here.
    const size = await files.size(`${folder}/journal`);
    if (size !== length) {
      broken = new FedflatError(
        "stale-epoch",
        `"${folder}/journal" expected ${length} bytes, got ${size}: another server writes to it`,
      );
      throw broken;
    }
    try {
      await journal!.write(bytes);
      if (durable) await journal!.sync();
    } catch (error) {
      throw await withdraw(error as NodeJS.ErrnoException);
    }
    length += bytes.length;
    previous = hash;
    remember(history, record);
  }

  /**
   * After a failed write: a full disk can be waited for if the half record goes away; all else ends
   * the ledger.
   */
  async function withdraw(error: NodeJS.ErrnoException): Promise<FedflatError> {
    if (error.code === "ENOSPC" || error.code === "EDQUOT")
      try {
        await journal!.truncate(length);
        await journal!.sync();
        return storageFull(error);
      } catch {
        // Falls through: what the disk holds is not known any more.
      }
    broken = new FedflatError(
      "storage-failed",
      `"${folder}/journal" cannot be written any more (${error.message}): restart, and the ledger goes back to what is on disk`,
      { cause: error },
    );
    return broken;
  }

  async function putBlob({ sha256, bytes }: Blob): Promise<void> {
    try {
      await blobs.put({ sha256, bytes });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "ENOSPC" || code === "EDQUOT") throw storageFull(error);
      // The blob is named by nothing yet, so the ledger itself is sound; but a disk that fails is
      // not to be trusted.
      broken = new FedflatError(
        "storage-failed",
        `"${blobs.path}" cannot be written (${message})`,
        { cause: error },
      );
      throw broken;
    }
  }

  const unusable = (error: unknown): FedflatError =>
    error instanceof FedflatError
      ? error
      : new ConfigError(
          "state-unusable",
          `"${folder}" expected a folder that can be written, got ${inWords(error)}`,
          { cause: error },
        );

  const storageFull = (cause: unknown) =>
    new FedflatError("storage-full", `"${folder}" is on a full disk`, { cause });

  /** Drops old commits, which are in the journal: a long run must not grow in memory. */
  const forget = () => {
    history.commits.splice(0, history.commits.length - KEPT);
  };

  /**
   * The bytes of a new journal, its first checkpoint in place. A crash before the journal has its
   * name leaves nothing that counts.
   */
  async function begin(genesis: Checkpoint): Promise<Uint8Array> {
    // More than the two blobs of a first checkpoint: rounds were committed here.
    const whole = await blobs.names();
    if (whole.length > 2)
      throw new ConfigError(
        "state-damaged",
        `"${folder}/journal" expected the journal of the ${whole.length} blobs beside it, got no such file`,
      );
    await putBlob(genesis.model);
    await putBlob(genesis.state);
    return newJournal(genesis);
  }

  return {
    async open(genesis): Promise<Opened> {
      try {
        await files.makeFolder(blobs.path);
        unlock = await lock(
          files,
          folder,
          (pid) =>
            `"${folder}" expected no other server, got one with process id ${pid} (if there is none, remove ${folder}/lock)`,
        );
      } catch (error) {
        throw unusable(error);
      }
      try {
        const notes: string[] = [];
        const path = `${folder}/journal`;
        let bytes = await files.read(path);
        bytes ??= await begin(genesis);
        const read = understand(path, bytes);
        const { last, end } = await lastGood(folder, read, notes, blobs.read);
        // What is cut off is kept aside, so that it can be looked at.
        if (end < bytes.length) await writeWhole(files, folder, "journal.cut", bytes.subarray(end));
        // Written again, because what is read may never have reached the disk: after a failed sync
        // it is in memory alone, and no later sync writes it.
        await writeWhole(files, folder, "journal", bytes.subarray(0, end));
        history = emptyHistory();
        previous = FIRST;
        for (const { record, end: at, hash } of read.records)
          if (at <= end) {
            remember(history, record);
            previous = hash;
          }
        length = end;
        // An epoch that was cut off was perhaps in use: the new one is above all that were ever
        // written.
        const epoch = 1 + Math.max(read.highestEpoch, history.epoch);
        journal = await files.open(path, "append");
        broken = undefined;
        await append({ type: "epoch", epoch }, true);
        const unfinished = await blobs.sweep(history.commits, KEPT);
        if (unfinished.length > 0 && notes.length === 0)
          notes.push(
            `${unfinished.length} blobs that no commit names were removed: a commit was not finished, or the journal lost it.`,
          );
        const commits = history.commits.slice();
        forget();
        return {
          epoch,
          run: history.run,
          last,
          attempt: history.attempt,
          latest: history.latest,
          clients: [...history.clients.values()],
          history: commits,
          notes,
        };
      } catch (error) {
        await journal?.close().catch(() => {});
        journal = undefined;
        await unlock().catch(() => {});
        throw unusable(error);
      }
    },

    register: (epoch, client) => inTurn(epoch, () => append({ type: "client", client }, false)),

    beginAttempt: (epoch, attempt) =>
      inTurn(epoch, () => append({ type: "attempt", attempt }, true)),

    abandonAttempt: (epoch, round, attempt) =>
      inTurn(epoch, () => append({ type: "abandoned", round, attempt }, true)),

    commit: (epoch, record, { model, state }) =>
      inTurn(epoch, async () => {
        await putBlob(model);
        await putBlob(state);
        await append({ type: "commit", commit: record }, true);
        forget();
        await blobs.sweep(history.commits, KEPT).catch(() => {});
      }),

    lastCounted: (client) => history.counted.get(client),

    async close() {
      await queue.idle();
      if (journal === undefined) return;
      try {
        await journal.close();
      } finally {
        journal = undefined;
        await unlock();
      }
    },
  };
}

/** The bytes of a new journal, which begins with its run's id and first checkpoint. */
function newJournal(genesis: Checkpoint): Uint8Array {
  const records: LedgerRecord[] = [
    { type: "run", run: randomBytes(16).toString("hex") },
    { type: "commit", commit: genesisRecord(genesis) },
  ];
  const frames: Uint8Array<ArrayBuffer>[] = [MAGIC];
  let before: Uint8Array = FIRST;
  for (const record of records) {
    const { bytes, hash } = frame(JSON.stringify(record), before);
    frames.push(bytes);
    before = hash;
  }
  return Buffer.concat(frames);
}
