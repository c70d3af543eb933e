import { ConfigError, FedflatError } from "../../runtime/errors.js";
import { lock, nodeFiles, type FileLayer } from "../../runtime/platform/node-files.js";
import { inWords } from "../../runtime/platform/system-errors.js";
import { serial } from "../../runtime/serial.js";
import { openBlobFolder } from "./blob-folder.js";
import { isFull } from "./disk.js";
import { emptyHistory, remember, type LedgerRecord } from "./history.js";
import { openJournal, type Journal } from "./journal-file.js";
import type { Checkpoint, Ledger, Opened } from "./ledger.js";
import { requireEpoch } from "./memory.js";
import { recover } from "./recovery.js";

/** Checkpoints kept: the newest, and those to fall back on should it turn out damaged. */
const KEPT = 3;

/** What was found, and that blobs were removed where nothing else explains them. */
const notesOf = (removed: number, found: readonly string[]): readonly string[] =>
  removed > 0 && found.length === 0
    ? [
        `${removed} blobs that no commit names were removed: a commit was not finished, or the journal lost it.`,
      ]
    : found;

/**
 * The ledger in a folder: `journal` (see journal.ts), `blobs/<sha256>` and `lock`. Blobs are
 * durable before the record that names them is written, so whatever the moment of a crash, what the
 * journal says is there.
 */
export function fileLedger(folder: string, files: FileLayer = nodeFiles): Ledger {
  const blobs = openBlobFolder(folder, files);
  let history = emptyHistory();
  let journal: Journal | undefined;
  /** Why nothing more can be written: what the disk holds is not known any more. */
  let broken: FedflatError | undefined;
  let unlock = async () => {};
  const queue = serial();

  /** Does one write after the other, each only in the epoch it was meant for. */
  function inTurn(epoch: number, work: (journal: Journal) => Promise<void>): Promise<void> {
    return queue.run(async () => {
      requireEpoch(epoch, history.epoch);
      if (broken !== undefined) throw broken;
      if (journal === undefined) throw new FedflatError("closed", "the ledger is not open");
      try {
        await work(journal);
      } catch (error) {
        if (error instanceof FedflatError && !isFull(error)) broken = error;
        throw error;
      }
    });
  }

  async function append(to: Journal, record: LedgerRecord, durable = true): Promise<void> {
    await to.append(record, durable);
    remember(history, record);
  }

  const keep = (epoch: number, record: LedgerRecord): Promise<void> =>
    inTurn(epoch, (to) => append(to, record));

  /** Drops old commits, which are in the journal: a long run must not grow in memory. */
  const forget = () => {
    history.commits.splice(0, history.commits.length - KEPT);
  };

  async function openLocked(genesis: Checkpoint): Promise<Opened> {
    const found = await recover(folder, files, blobs, genesis);
    ({ history } = found);
    broken = undefined;
    journal = await openJournal(folder, files, found);
    // An epoch that was cut off was perhaps in use: the new one is above every one ever written.
    const epoch = 1 + Math.max(found.highestEpoch, history.epoch);
    await append(journal, { type: "epoch", epoch });
    const unfinished = await blobs.sweep(history.commits, KEPT);
    const notes = notesOf(unfinished.length, found.notes);
    const commits = history.commits.slice();
    forget();
    const { run, attempt, latest, clients, charges, statistics, threshold } = history;
    const { last } = found;
    return {
      ...{ epoch, run, last, attempt, latest, charges, statistics, threshold, notes },
      clients: [...clients.values()],
      history: commits,
    };
  }

  return {
    async open(genesis) {
      try {
        await files.makeFolder(blobs.path);
        unlock = await lock(
          files,
          folder,
          (pid) =>
            `"${folder}" expected no other server, got one with process id ${pid} (if there is none, remove ${folder}/lock)`,
        );
      } catch (error) {
        throw unusable(folder, error);
      }
      try {
        return await openLocked(genesis);
      } catch (error) {
        await journal?.close().catch(() => {});
        journal = undefined;
        await unlock().catch(() => {});
        throw unusable(folder, error);
      }
    },

    register: (epoch, client) =>
      inTurn(epoch, (to) => append(to, { type: "client", client }, false)),

    keepStatistics: (epoch, statistics) => keep(epoch, { type: "statistics", statistics }),

    keepThreshold: (epoch, threshold) => keep(epoch, { type: "threshold", threshold }),

    beginAttempt: (epoch, attempt) => keep(epoch, { type: "attempt", attempt }),

    charge: (epoch, charge) => keep(epoch, { type: "charge", charge }),

    abandonAttempt: (epoch, round, attempt) => keep(epoch, { type: "abandoned", round, attempt }),

    commit: (epoch, record, { model, state }) =>
      inTurn(epoch, async (to) => {
        await blobs.put(model);
        await blobs.put(state);
        await append(to, { type: "commit", commit: record });
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

const unusable = (folder: string, error: unknown): FedflatError =>
  error instanceof FedflatError
    ? error
    : new ConfigError(
        "state-unusable",
        `"${folder}" expected a folder that can be written, got ${inWords(error)}`,
        { cause: error },
      );
