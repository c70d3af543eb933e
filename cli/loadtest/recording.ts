/** What is timed of every client, in milliseconds. */
export const FIGURES = [
  "connect",
  "download",
  "train",
  "upload",
  "roundTrip",
] as const;
export type Figure = (typeof FIGURES)[number];

/** What clients are at. */
export const STATES = [
  "dialling",
  "idle",
  "downloading",
  "training",
  "uploading",
] as const;
export type State = (typeof STATES)[number];

/** What a fleet has seen, as plain numbers: recordings of several processes add up. */
export interface Recording {
  readonly samples: Record<Figure, number[]>;
  readonly errors: Record<string, number>;
  readonly states: Record<State, number>;
  /** Updates in the model; and their bytes. */
  counted: number;
  countedBytes: number;
  modelBytes: number;
  /** The last round that was committed, and how many were while this was recorded. */
  round: number;
  rounds: number;
  finished: number;
}

const zeros = <K extends string>(keys: readonly K[]) =>
  Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>;

export const newRecording = (): Recording => ({
  samples: {
    connect: [],
    download: [],
    train: [],
    upload: [],
    roundTrip: [],
  },
  errors: {},
  states: zeros(STATES),
  counted: 0,
  countedBytes: 0,
  modelBytes: 0,
  round: 0,
  rounds: 0,
  finished: 0,
});

/** One recording of several. */
export function merged(recordings: readonly Recording[]): Recording {
  const sum = newRecording();
  for (const recording of recordings) {
    for (const figure of FIGURES)
      for (const sample of recording.samples[figure])
        sum.samples[figure].push(sample);
    for (const state of STATES) sum.states[state] += recording.states[state];
    for (const [kind, count] of Object.entries(recording.errors))
      sum.errors[kind] = (sum.errors[kind] ?? 0) + count;
    sum.counted += recording.counted;
    sum.countedBytes += recording.countedBytes;
    sum.modelBytes += recording.modelBytes;
    sum.finished += recording.finished;
    sum.round = Math.max(sum.round, recording.round);
    sum.rounds = Math.max(sum.rounds, recording.rounds);
  }
  return sum;
}

export interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Percentiles by nearest rank; nothing of no samples. */
export function percentiles(
  samples: readonly number[],
): Percentiles | undefined {
  if (samples.length === 0) return undefined;
  const sorted = Float64Array.from(samples).sort();
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
  return {
    count: sorted.length,
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    max: sorted[sorted.length - 1],
  };
}
