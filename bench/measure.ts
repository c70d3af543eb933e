/** One comparison: `ratio` says how many times as fast as the baseline (value / baseline, or its inverse where `unit` is a time). */
export interface Result {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly baseline: number;
  readonly ratio: number;
}

/** What is raced: work to be done once, and how many operations (or whatever the result counts) that is. */
export interface Contestant {
  run(): void;
  readonly operations: number;
}

const TURN_MILLISECONDS = 10;
const LEAST_TURNS = 9;

/**
 * Lets two contestants take turns for some seconds and returns medians over the turns: operations per nanosecond (so GFLOP/s if
 * operations are floating-point) of each, and of the ratio within a turn, which noise of the machine disturbs least.
 */
export function race(
  ours: Contestant,
  other: Contestant,
  seconds = 2,
): { ours: number; other: number; ratio: number } {
  const contestants = [ours, other];
  const repeats = contestants.map(({ run }) => {
    // Warm up until the engine's optimizing compiler has had its turn.
    let runs = 0;
    let last = 0;
    for (const end = performance.now() + 300; performance.now() < end; runs++) {
      const start = performance.now();
      run();
      last = performance.now() - start;
    }
    return Math.max(1, Math.round(TURN_MILLISECONDS / last));
  });
  const turns: number[][] = [];
  const end = performance.now() + 1000 * seconds;
  while (turns.length < LEAST_TURNS || performance.now() < end)
    turns.push(
      contestants.map(({ run, operations }, i) => {
        const start = performance.now();
        for (let count = 0; count < repeats[i]; count++) run();
        const nanoseconds = (performance.now() - start) * 1e6;
        return (operations * repeats[i]) / nanoseconds;
      }),
    );
  return {
    ours: median(turns.map(([rate]) => rate)),
    other: median(turns.map(([, rate]) => rate)),
    ratio: median(turns.map(([rate, baseline]) => rate / baseline)),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2
    ? sorted[middle]
    : (sorted[middle - 1] + sorted[middle]) / 2;
}
