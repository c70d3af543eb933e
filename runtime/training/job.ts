import type { LocalObjective } from "../algorithms/algorithm.js";
import type { Dataset, Normalisation, Part } from "../data/dataset.js";
import type { ModelDescription } from "../models/description.js";
import type { TargetScale } from "../models/model.js";
import type { Vector } from "../tensors/layout.js";
import type { RandomState } from "../tensors/random.js";
import type { Evaluation, Progress, RoundMetrics, RoundSettings } from "./local-round.js";

/** Weights of a described network, and how its inputs and targets are normalised: of a `Model`. */
export interface Weighted {
  readonly description: ModelDescription;
  readonly weights: Vector;
  readonly normalisation?: Normalisation;
  readonly targets?: TargetScale;
  /**
   * Names what is frozen in the weights, such as by its hash: where it is given, what follows from
   * that alone may be kept for later jobs (features.ts).
   */
  readonly base?: string;
}

/** What a job takes of a model. */
export const weightedOf = ({
  description,
  weights,
  normalisation,
  targets,
  base,
}: Weighted): Weighted => ({
  description,
  weights,
  normalisation,
  targets,
  base,
});

/** Local training of one round, as data: what an algorithm adds is in `objective`. */
export interface TrainJob extends Weighted {
  readonly objective: LocalObjective;
  /** The client's own model is trained, of which nothing is sent. */
  readonly isOwn?: true;
  readonly part: Part;
  readonly settings: RoundSettings;
  /** Bytes of memory that the job leaves, to keep features in; none where not given. */
  readonly spare?: number;
  /**
   * Where an earlier run of the same job was cut: this one resumes there, and ends with the same
   * bits.
   */
  readonly from?: Snapshot;
}

/** A local round cut between two batches: with its job, everything that the rest depends on. */
export interface Snapshot {
  /** theta, and the running values behind it: what training moves */
  readonly weights: Vector;
  /** Batches done, in the whole round. */
  readonly batch: number;
  /** Where the epoch's generator stands: dropout and augmentation draw from it. */
  readonly chance: RandomState;
  /** Of the epoch under way, for `RoundMetrics.activationNorms`. */
  readonly activationNorms: readonly number[];
  readonly lossBefore: number;
  /** Seconds of training so far. */
  readonly seconds: number;
}

export interface EvaluateJob extends Weighted {
  readonly part: Part;
}

export interface CurvatureJob extends EvaluateJob {
  /** A vector over what learns, as the product is. */
  readonly direction: Vector;
}

export interface PredictJob extends Weighted {
  /** Examples end to end, not normalised; or where each begins. */
  readonly inputs: Dataset["inputs"];
  readonly starts?: Dataset["starts"];
}

export interface Trained {
  /** theta_end - w_t, of what is shared. */
  readonly delta: Vector;
  /** theta_end of what is personal, where there is such. */
  readonly personal?: Vector;
  /** Running values at the end, where the run moves them. */
  readonly statistics?: Vector;
  readonly metrics: RoundMetrics;
}

export interface JobOptions {
  /** Told after a batch, at most every 100 ms, and after the last one. */
  readonly onProgress?: (progress: Progress) => void;
  /**
   * Given a snapshot of a long training now and then (training/snapshots.ts), the next one not
   * before the promise resolves. It must not reject. The weights are the listener's own.
   */
  readonly onSnapshot?: (snapshot: Snapshot) => Promise<void>;
  /** Ends the job at the next batch: the promise rejects with the code `cancelled`. */
  readonly signal?: AbortSignal;
}

/**
 * Does jobs in a worker, one after the other. Every promise rejects with a FedflatError:
 * `cancelled`; `failed` where the worker trapped, ran out of memory or was killed (the next job
 * gets a fresh one); else what is wrong with the job.
 */
export interface Trainer {
  train(job: TrainJob, options?: JobOptions): Promise<Trained>;
  evaluate(job: EvaluateJob, options?: JobOptions): Promise<Evaluation>;
  /**
   * The Hessian of the summed cross-entropy of the part (without MAN and weight decay) times a
   * direction: exact up to float32. Sums over disjoint parts add up to the sum over their union.
   */
  hessianProduct(job: CurvatureJob, options?: JobOptions): Promise<Float64Array>;
  /**
   * The output of each example end to end: logits, or normalised numbers. Of a model whose target is
   * its input, each example's error.
   */
  predict(job: PredictJob, options?: JobOptions): Promise<Float32Array>;
  /** Ends the worker at once; jobs under way reject with `cancelled`. */
  close(): void;
}
