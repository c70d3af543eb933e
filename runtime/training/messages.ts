import type { Dataset } from "../data/dataset.js";
import { FedflatError } from "../errors.js";
import type { CurvatureJob, EvaluateJob, PredictJob, Snapshot, Trained, TrainJob } from "./job.js";
import type { Evaluation, Progress } from "./local-round.js";

/** How a job is done, beside what it is. */
export interface JobControl {
  /** Becomes non-zero to cancel at once, where memory can be shared. */
  readonly flag?: Int32Array;
  /** The host keeps snapshots of this job. */
  readonly snapshots: boolean;
}

/** A part of a data set that the worker holds. */
export interface PostedPart {
  readonly dataset: number;
  readonly rows: Uint32Array;
}

/** A job as it is posted: the part it works on is named, not sent. */
type Posted<J> = Omit<J, "part"> & { readonly part: PostedPart } & JobControl;

/** The calls to a training worker. */
export interface TrainingCalls {
  readonly train: { readonly takes: Posted<TrainJob>; readonly gives: Trained };
  readonly evaluate: { readonly takes: Posted<EvaluateJob>; readonly gives: Evaluation };
  readonly hessianProduct: { readonly takes: Posted<CurvatureJob>; readonly gives: Float64Array };
  readonly predict: { readonly takes: PredictJob & JobControl; readonly gives: Float32Array };
  /** Keeps a data set under a number, for the jobs that name it. */
  readonly hold: {
    readonly takes: { readonly id: number; readonly content: Dataset };
    readonly gives: void;
  };
  readonly forget: { readonly takes: { readonly id: number }; readonly gives: void };
}

/** What a worker reports of a job under way. */
export type JobReport = { readonly progress: Progress } | { readonly snapshot: Snapshot };

/** To end the job, or that its last snapshot has been kept in so many milliseconds. */
export type JobOrder = "cancel" | { readonly kept: number };

export const cancelled = (): FedflatError => new FedflatError("cancelled", `"job" was cancelled`);
