import { SECURE_PHASES, type SecurePhase } from "../../aggregator/rounds/participants.js";

/** What is timed of every client, in milliseconds; of a phase from its question to the next. */
export const FIGURES = [
  "connect",
  "download",
  "train",
  "upload",
  ...SECURE_PHASES,
  "roundTrip",
] as const;
export type Figure = (typeof FIGURES)[number];

/** What clients are at; away are those whose profile broke their connection. */
export const STATES = ["dialling", "away", "idle", "downloading", "training", "uploading"] as const;
export type Activity = (typeof STATES)[number];

/**
 * What a profile may ask for that goes wrong: its connection breaks, or an update is late, comes
 * twice, has another length or a NaN.
 */
export const FAULTS = ["dropOut", "late", "duplicate", "shape", "nan"] as const;
export type Fault = (typeof FAULTS)[number];

/** What a fleet has seen, as plain numbers: recordings of several processes add up. */
export interface Recording {
  readonly samples: Record<Figure, number[]>;
  /** What the profiles asked for, and the aggregator's right answers to it: no errors. */
  readonly faults: Record<Fault, number>;
  /** Other refusals, by the protocol's code. */
  readonly refused: Record<string, number>;
  readonly errors: Record<string, number>;
  readonly states: Record<Activity, number>;
  /** Clients that have dialled. */
  arrived: number;
  /** Updates in the model; and their bytes. */
  counted: number;
  countedBytes: number;
  modelBytes: number;
  /** Bytes of a secure round's questions and of their answers, and how many answers these were. */
  readonly phases: Record<SecurePhase, PhaseTraffic>;
  /** The last round that was committed, and how many were while this was recorded. */
  round: number;
  rounds: number;
  finished: number;
}

export interface PhaseTraffic {
  answers: number;
  up: number;
  down: number;
}

const quiet = (): Recording["phases"] =>
  Object.fromEntries(
    SECURE_PHASES.map((phase) => [phase, { answers: 0, up: 0, down: 0 }]),
  ) as Recording["phases"];

const zeros = <K extends string>(keys: readonly K[]) =>
  Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>;

export const newRecording = (): Recording => ({
  samples: Object.fromEntries(
    FIGURES.map((figure): [Figure, number[]] => [figure, []]),
  ) as Recording["samples"],
  faults: zeros(FAULTS),
  refused: {},
  errors: {},
  states: zeros(STATES),
  arrived: 0,
  counted: 0,
  countedBytes: 0,
  modelBytes: 0,
  phases: quiet(),
  round: 0,
  rounds: 0,
  finished: 0,
});

/** Counts one more, or more, of a kind. */
export function add(counts: Record<string, number>, kind: string, count = 1): void {
  counts[kind] = (counts[kind] ?? 0) + count;
}

/** A recording without the samples, which a long test has many of. */
export type Counts = Omit<Recording, "samples">;

/** The counts of several recordings. */
export function countsOf(recordings: readonly Counts[]): Counts {
  const { samples: _, ...sum } = newRecording();
  for (const recording of recordings) {
    for (const state of STATES) sum.states[state] += recording.states[state];
    for (const counts of ["faults", "refused", "errors"] as const)
      for (const [kind, count] of Object.entries(recording[counts])) add(sum[counts], kind, count);
    for (const phase of SECURE_PHASES)
      for (const key of ["answers", "up", "down"] as const)
        sum.phases[phase][key] += recording.phases[phase][key];
    sum.arrived += recording.arrived;
    sum.counted += recording.counted;
    sum.countedBytes += recording.countedBytes;
    sum.modelBytes += recording.modelBytes;
    sum.finished += recording.finished;
    sum.round = Math.max(sum.round, recording.round);
    sum.rounds = Math.max(sum.rounds, recording.rounds);
  }
  return sum;
}

/** One recording of several. */
export function merged(recordings: readonly Recording[]): Recording {
  const { samples } = newRecording();
  for (const recording of recordings) append(samples, recording.samples);
  return { ...countsOf(recordings), samples };
}

/** Adds samples to others. */
export function append(to: Recording["samples"], samples: Recording["samples"]): void {
  for (const figure of FIGURES) for (const sample of samples[figure]) to[figure].push(sample);
}

export interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Percentiles by nearest rank; nothing of no samples. */
export function percentiles(samples: readonly number[]): Percentiles | undefined {
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
