import type { Assignment } from "../clients/clients.js";
import type { AggregatorSettings } from "../settings.js";
import type { Checkpoint } from "../storage/ledger.js";

/**
 * A committed round in `rounds.jsonl`: nothing that time, the run's id or the order of arrival
 * decides.
 */
export interface RoundLine extends ClientMeans {
  readonly round: number;
  readonly attempt: number;
  readonly algorithm: string;
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
}

/** The same round in `timings.jsonl`. */
export interface RoundTimings {
  readonly round: number;
  readonly seconds: number;
  /** The longest local training. */
  readonly trainSeconds: number;
  readonly updateBytes: number;
  /** Parts of `seconds`: until the last update was in, moving the model, and writing it down. */
  readonly collectSeconds: number;
  readonly finishSeconds: number;
  readonly commitSeconds: number;
}

/**
 * What the participants measured, as they said it in their offers: means over all their samples.
 */
export interface ClientMeans {
  readonly samples: number;
  readonly lossBefore: number;
  readonly lossAfter: number;
  /** By layer; empty where clients do not agree on the layers. */
  readonly activationNorms: readonly number[];
}

/** eta_t = eta decay^t, t being the rounds committed before. */
export const learningRateOf = (
  { learningRate, learningRateDecay }: AggregatorSettings,
  round: number,
): number => learningRate * learningRateDecay ** (round - 1);

/** @param assignments those counted, sorted by client: the order decides the last bits of the means. */
export function roundLine(
  settings: AggregatorSettings,
  { round, attempt }: { readonly round: number; readonly attempt: number },
  assignments: readonly Assignment[],
  { model, state }: Checkpoint,
  builds: { readonly build: string; readonly clientBuilds: readonly string[] },
): RoundLine {
  return {
    round,
    attempt,
    algorithm: settings.algorithm,
    participants: assignments.map(({ client }) => client),
    updates: assignments.map(({ offer }) => offer!.sha256),
    ...clientMeans(
      assignments.map(({ weight, offer }) => ({ samples: weight, metrics: offer!.metrics })),
    ),
    learningRate: learningRateOf(settings, round),
    staleness:
      assignments.reduce((sum, { work }) => sum + round - work.round, 0) / assignments.length,
    model: model.sha256,
    state: state.sha256,
    ...builds,
  };
}

/** Means weighted by samples, summed in the order given. */
export function clientMeans(
  clients: readonly {
    readonly samples: number;
    readonly metrics: {
      readonly lossBefore: number;
      readonly lossAfter: number;
      readonly activationNorms: readonly number[];
    };
  }[],
): ClientMeans {
  let total = 0;
  for (const { samples } of clients) total += samples;
  type Metrics = (typeof clients)[number]["metrics"];
  const mean = (pick: (metrics: Metrics) => number) => {
    let sum = 0;
    for (const { samples, metrics } of clients) sum += samples * pick(metrics);
    return sum / total;
  };
  const layers = clients[0].metrics.activationNorms.length;
  const agree = clients.every(({ metrics }) => metrics.activationNorms.length === layers);
  return {
    samples: total,
    lossBefore: mean(({ lossBefore }) => lossBefore),
    lossAfter: mean(({ lossAfter }) => lossAfter),
    activationNorms: agree
      ? Array.from({ length: layers }, (_, layer) =>
          mean(({ activationNorms }) => activationNorms[layer]),
        )
      : [],
  };
}
