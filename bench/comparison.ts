/**
 * One measured figure. `ratio` is value against baseline, so that above 1 the subject is the faster
 * or smaller one.
 */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it is compared with, and that one's value in the same unit and run. */
  readonly baseline?: string;
  readonly baselineValue?: number;
  readonly ratio?: number;
  /** The target of the issue, in words, and whether this run met it. */
  readonly target?: string;
  readonly met?: boolean;
}

/**
 * A comparison is a module in this folder that exports `compare`; `main.ts` runs it in a process of
 * its own, or, where the module also exports the names of its `parts`, each of them.
 */
export type Compare = (report: (figure: Figure) => void, part: string) => Promise<void>;

/**
 * Something whose speed is measured: `burst(n)` does the work n times and gives the milliseconds it
 * took.
 */
export interface Contender {
  readonly name: string;
  burst(times: number): number | Promise<number>;
}

/**
 * Milliseconds: of the processor's, where others work on this machine (`--busy`), for what they take
 * says nothing of the work.
 */
export const now =
  process.env["FEDFLAT_BENCH_BUSY"] === "1"
    ? () => {
        const { user, system } = process.cpuUsage();
        return (user + system) / 1000;
      }
    : () => performance.now();

/** A contender that works in this thread. */
export const here = (name: string, work: () => unknown): Contender => ({
  name,
  burst(times) {
    const started = now();
    for (let i = 0; i < times; i++) work();
    return now() - started;
  },
});

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/**
 * Median milliseconds of one piece of work of each contender. They take turns in short bursts, so
 * that what else the machine does falls on all of them alike; each first works alone until it is
 * warm.
 */
export async function takeTurns(
  contenders: readonly Contender[],
  {
    turns = 11,
    burstMilliseconds = 150,
    warmUpMilliseconds = 1000,
  }: {
    turns?: number;
    burstMilliseconds?: number;
    warmUpMilliseconds?: number;
  } = {},
): Promise<Record<string, number>> {
  const times = new Map<Contender, number>();
  for (const contender of contenders) {
    // V8 compiles WebAssembly quickly first and well in the background: a second of work lets it
    // finish.
    let count = 1;
    let total = 0;
    let spent = 0;
    while (total < warmUpMilliseconds || spent < burstMilliseconds / 4) {
      spent = await contender.burst(count);
      total += spent;
      const fitting = (count * burstMilliseconds) / Math.max(spent, 0.01);
      count = Math.max(1, Math.min(count * 10, Math.round(fitting)));
    }
    times.set(contender, count);
  }
  const samples = new Map<Contender, number[]>(contenders.map((contender) => [contender, []]));
  for (let turn = 0; turn < turns; turn++)
    for (let place = 0; place < contenders.length; place++) {
      // Another one goes first each turn, so that none always finds the caches as its neighbour
      // left them.
      const contender = contenders[(turn + place) % contenders.length];
      await contender.burst(1);
      const count = times.get(contender)!;
      samples.get(contender)!.push((await contender.burst(count)) / count);
    }
  return Object.fromEntries(
    contenders.map((contender) => [contender.name, median(samples.get(contender)!)]),
  );
}
