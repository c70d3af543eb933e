import type { NamedNumbers, NamedVectors, State } from "../algorithms/algorithm.js";
import type { Augmentation } from "../data/dataset.js";
import type { Vector } from "../tensors/layout.js";

/**
 * `frozen`: batchNorm's running values are used and stay; `average`: they are measured, sent and
 * averaged; `local`: measured, and kept by the client.
 */
export type BatchNormPolicy = "frozen" | "average" | "local";

/** Whether batches are normalised by themselves, and move the running values. */
export const movesBatchNorm = ({ batchNorm = "frozen" }: Pick<RoundSettings, "batchNorm">) =>
  batchNorm !== "frozen";

/** How one local round is trained: everything that `assign.settings` says about it. */
export interface RoundSettings {
  readonly algorithm: string;
  /** The algorithm's own numbers (alpha, mu, rho ...). */
  readonly algorithmSettings: NamedNumbers;
  readonly localEpochs: number;
  /**
   * FedRep: so many epochs come first in which only personal layers move; in the others they are
   * held. Where not given, all move together.
   */
  readonly headEpochs?: number;
  readonly batchSize: number;
  /** eta_t, constant inside the round, and eta_0. */
  readonly learningRate: number;
  readonly initialLearningRate: number;
  readonly weightDecay: number;
  /** Norm to which the whole gradient is clipped; 0 for no clip. */
  readonly clipNorm: number;
  /** MAN's coefficient; 0 switches the penalty off. */
  readonly zeta: number;
  /** Count the logits among MAN's layers (the paper's code does not). */
  readonly manIncludesLogits: boolean;
  readonly shuffle: boolean;
  /** What becomes of batchNorm's running values; `frozen` where not given. */
  readonly batchNorm?: BatchNormPolicy;
  readonly augmentation?: Augmentation;
  /** Mean number of samples of the run's registered clients: share = n_k / meanSamples. */
  readonly meanSamples: number;
  /** Seeds every random choice of this client's round. */
  readonly seed: string;
  /**
   * The power of two to whose multiples the update is rounded, where the algorithm keeps state on
   * the client.
   */
  readonly grid?: number;
}

/** The most samples that the loss before and after training is measured on. */
export const LOSS_SAMPLES = 100;

/** What a local round measured. */
export interface RoundMetrics {
  readonly samples: number;
  /**
   * Mean cross-entropy before and after training, without MAN, no augmentation, over the first
   * `LOSS_SAMPLES` of the client's training samples: over all of them it would cost a device that
   * trains one epoch two thirds of a round more.
   */
  readonly lossBefore: number;
  readonly lossAfter: number;
  /** Mean activation norm A_l of each layer that has one, over the last local epoch. */
  readonly activationNorms: readonly number[];
  readonly seconds: number;
}

export interface RoundResult {
  readonly delta: Vector;
  /** What is personal, trained: it becomes the client's as the state does. */
  readonly personal?: Vector;
  /** Running values at the end, where the run moves them. */
  readonly statistics?: Vector;
  /** Pending client state and the vectors to send, from the algorithm. */
  readonly state: State;
  readonly update: NamedVectors;
  readonly metrics: RoundMetrics;
}

/** What an evaluation measured: sums, so that they can be folded. */
export interface Evaluation {
  readonly count: number;
  /** Examples whose class was found; 0 where an example has no one class. */
  readonly correct: number;
  /** Mean loss over the labels that count, times `count`: a mean over each example's. */
  readonly loss: number;
  /** What the metrics of the model's task are read from (models/metrics/sums.ts). */
  readonly sums?: readonly number[];
}

/** Told after each batch (over a worker's port at most every 100 ms, and after the last one). */
export interface Progress {
  readonly epoch: number;
  readonly batch: number;
  readonly batches: number;
  /** Cross-entropy of the batch. */
  readonly loss: number;
  readonly activationNorms: readonly number[];
}
