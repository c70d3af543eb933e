/** At the end of an epoch, and at any batch, that many milliseconds after the snapshot before. */
const EPOCH_MS = 10_000;
const BATCH_MS = 30_000;
/** Largest share of the time that keeping snapshots may take. */
const SHARE = 0.01;

/** When it is time for the next snapshot of one training. */
interface SnapshotTimes {
  due(epochDone: boolean): boolean;
  /** One is taken; none is due until it is kept. */
  taken(): void;
  /** It took so many milliseconds to keep it. */
  kept(cost: number): void;
}

/**
 * A training's snapshots are taken at the end of an epoch or after half a minute, but not before
 * keeping the last one has become a hundredth of the time since: what is lost by a kill is little,
 * and a slow disk makes it more, not training slower. `now` is a clock in milliseconds.
 */
export function snapshotTimes(now: () => number): SnapshotTimes {
  let last = now();
  let cost = 0;
  return {
    due: (epochDone) => now() - last >= Math.max(epochDone ? EPOCH_MS : BATCH_MS, cost / SHARE),
    taken() {
      last = now();
      cost = Infinity;
    },
    kept(milliseconds) {
      cost = milliseconds;
    },
  };
}
