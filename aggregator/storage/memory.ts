import { randomBytes } from "node:crypto";
import { FedflatError } from "../../runtime/errors.js";
import { emptyHistory, remember, type LedgerRecord } from "./history.js";
import { genesisRecord, type Checkpoint, type Ledger } from "./ledger.js";

/** A ledger that lives as long as the process: for simulations without a folder. */
export function memoryLedger(): Ledger {
  const history = emptyHistory();
  history.run = randomBytes(16).toString("hex");
  let last: Checkpoint | undefined;
  const write = (epoch: number, record: LedgerRecord): void => {
    requireEpoch(epoch, history.epoch);
    remember(history, record);
  };
  return {
    async open(genesis) {
      remember(history, { type: "epoch", epoch: history.epoch + 1 });
      if (last === undefined) {
        last = genesis;
        remember(history, { type: "commit", commit: genesisRecord(genesis) });
      }
      const record = history.commits[history.commits.length - 1];
      return {
        epoch: history.epoch,
        run: history.run,
        last: { record, ...last },
        attempt: history.attempt,
        latest: history.latest,
        charges: [...history.charges],
        clients: [...history.clients.values()],
        statistics: history.statistics,
        threshold: history.threshold,
        history: [...history.commits],
        notes: [],
      };
    },
    register: async (epoch, client) => write(epoch, { type: "client", client }),
    keepStatistics: async (epoch, statistics) => write(epoch, { type: "statistics", statistics }),
    keepThreshold: async (epoch, threshold) => write(epoch, { type: "threshold", threshold }),
    beginAttempt: async (epoch, attempt) => write(epoch, { type: "attempt", attempt }),
    charge: async (epoch, charge) => write(epoch, { type: "charge", charge }),
    abandonAttempt: async (epoch, round, attempt) =>
      write(epoch, { type: "abandoned", round, attempt }),
    async commit(epoch, record, checkpoint) {
      write(epoch, { type: "commit", commit: record });
      last = checkpoint;
    },
    lastCounted: (client) => history.counted.get(client),
    async close() {},
  };
}

/** @throws FedflatError `stale-epoch` */
export function requireEpoch(given: number, current: number): void {
  if (given !== current)
    throw new FedflatError(
      "stale-epoch",
      `"epoch" expected ${current}, got ${given}: another server has opened this ledger`,
    );
}
