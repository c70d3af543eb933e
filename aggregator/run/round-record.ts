import type { ClientMeans } from "./client-means.js";
import type { AggregatorSettings } from "../settings.js";
import type { Checkpoint } from "../storage/ledger.js";
import type { AssignmentRow, Claim } from "../storage/store.js";

/**
 * A committed round in `rounds.jsonl`: nothing that time, the run's id or the order of arrival
 * decides.
 */
export interface RoundRecord extends Partial<ClientMeans> {
  readonly round: number;
  readonly attempt: number;
  readonly algorithm: string;
  /** What becomes of batchNorm's running values, where the model has any that could move. */
  readonly batchNorm?: string;
  /** Ids of the clients counted, sorted, and the hashes of their updates. */
  readonly participants: readonly string[];
  readonly updates: readonly string[];
  readonly learningRate: number;
  /** Mean over the updates of the rounds committed since the model that each was trained from. */
  readonly staleness: number;
  /** SHA-256 of the model and of the algorithm's state. */
  readonly model: string;
  readonly state: string;
  /** Kernels of the fold, and of the clients. */
  readonly build: string;
  readonly clientBuilds: readonly string[];
  /** What a run with differential privacy has spent, this round in it. */
  readonly epsilon?: number;
  readonly delta?: number;
}

/** The same round in `timings.jsonl`. */
export interface RoundTimings {
  readonly round: number;
  readonly seconds: number;
  /** The longest local training; kept back in private runs. */
  readonly trainSeconds?: number;
  readonly updateBytes: number;
  /** Of the models that those updates were trained from; who adds differences fetches less. */
  readonly modelBytes: number;
  /** Parts of `seconds`: until the last update was in, moving the model, and writing it down. */
  readonly collectSeconds: number;
  readonly finishSeconds: number;
  readonly commitSeconds: number;
}

/** eta_t = eta decay^t, t being the rounds committed before. */
export const learningRateOf = (
  { learningRate, learningRateDecay }: AggregatorSettings,
  round: number,
): number => learningRate * learningRateDecay ** (round - 1);

/** @param counted sorted by client */
export function roundRecord(
  settings: AggregatorSettings,
  { round, attempt }: { readonly round: number; readonly attempt: number },
  counted: readonly AssignmentRow[],
  means: ClientMeans,
  { model, state }: Checkpoint,
  builds: { readonly build: string; readonly clientBuilds: readonly string[] },
): RoundRecord {
  return {
    round,
    attempt,
    algorithm: settings.algorithm,
    ...(settings.batchNorm && { batchNorm: settings.batchNorm }),
    participants: counted.map(({ client }) => client),
    updates: counted.map(({ claim }) => claim!.sha256),
    ...means,
    learningRate: learningRateOf(settings, round),
    staleness: counted.reduce((sum, { work }) => sum + round - work.round, 0) / counted.length,
    model: model.sha256,
    state: state.sha256,
    ...builds,
  };
}

/** Without what the participants measured, and the hashes by which a guess at an update is known. */
export const withoutMeans = ({
  samples: _,
  lossBefore: __,
  lossAfter: ___,
  activationNorms: ____,
  ...record
}: RoundRecord): RoundRecord => ({ ...record, updates: [] });

/** How long a client says that it trained, which cannot be longer than it had for it. */
export const trainSecondsOf = (
  { deadline }: AggregatorSettings,
  { metrics }: Pick<Claim, "metrics">,
): number => Math.min(metrics.seconds, deadline / 1000);
