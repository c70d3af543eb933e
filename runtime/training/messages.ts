import type { Dataset } from "../data/dataset.js";
import { ConfigError, DataError, FedflatError, ModelError } from "../errors.js";
import type { CurvatureJob, EvaluateJob, PredictJob, Snapshot, Trained, TrainJob } from "./job.js";
import type { Evaluation, Progress } from "./local-round.js";

/** Every kind of job, and what it answers. */
export interface Jobs {
  readonly train: { readonly job: TrainJob; readonly result: Trained };
  readonly evaluate: { readonly job: EvaluateJob; readonly result: Evaluation };
  readonly hessianProduct: {
    readonly job: CurvatureJob;
    readonly result: Float64Array;
  };
  readonly predict: { readonly job: PredictJob; readonly result: Float32Array };
}

/** One job with its kind. */
export type Job = {
  [Kind in keyof Jobs]: {
    readonly kind: Kind;
    readonly job: Jobs[Kind]["job"];
  };
}[keyof Jobs];

/** A job as it is posted: the part it works on is named, not sent. */
export interface PostedJob {
  readonly kind: keyof Jobs;
  readonly job: object;
  readonly part?: { readonly dataset: number; readonly rows: Uint32Array };
}

/** From the host to the worker. */
export type ToWorker =
  | {
      readonly type: "data";
      readonly dataset: number;
      readonly content: Dataset;
    }
  | { readonly type: "forget"; readonly dataset: number }
  | {
      readonly type: "job";
      readonly id: number;
      readonly posted: PostedJob;
      /** Becomes non-zero to cancel at once, where memory can be shared. */
      readonly flag?: Int32Array;
      /** The host keeps snapshots of this job. */
      readonly snapshots: boolean;
    }
  /** A snapshot has been kept, in so many milliseconds. */
  | { readonly type: "kept"; readonly id: number; readonly cost: number }
  | { readonly type: "cancel"; readonly id: number };

/** From the worker to the host. */
export type FromWorker =
  /** Its engine has started: from now on what fails is a job. */
  | { readonly type: "ready" }
  | {
      readonly type: "progress";
      readonly id: number;
      readonly progress: Progress;
    }
  | {
      readonly type: "snapshot";
      readonly id: number;
      readonly snapshot: Snapshot;
    }
  | { readonly type: "done"; readonly id: number; readonly result: unknown }
  | {
      readonly type: "error";
      /** Absent where the worker could not start. */
      readonly id?: number;
      readonly error: PostedError;
      /** The worker's memory can no longer be trusted. */
      readonly fatal: boolean;
    };

interface PostedError {
  readonly name: string;
  readonly code: string;
  readonly message: string;
}

type Numbers = Float32Array | Float64Array | Uint8Array | Uint32Array;
const isNumbers = (value: unknown): value is Numbers => ArrayBuffer.isView(value);

/**
 * The same message with copies of its vectors in their place, and what to transfer with it: one
 * copy is made where posting alone would make two. A vector that stands in two places is copied
 * once; shared memory stays where it is.
 */
export function movable<T>(message: T): {
  readonly message: T;
  readonly transfer: ArrayBuffer[];
} {
  const copies = new Map<Numbers, Numbers>();
  const moved = (value: unknown): unknown => {
    if (isNumbers(value)) {
      if (!(value.buffer instanceof ArrayBuffer)) return value;
      const copy = copies.get(value) ?? value.slice();
      copies.set(value, copy);
      return copy;
    }
    if (Array.isArray(value)) return value.map(moved);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, moved(inner)]));
  };
  return {
    message: moved(message) as T,
    transfer: [...copies.values()].map(({ buffer }) => buffer as ArrayBuffer),
  };
}

/** The memory of every vector in a message, shared memory left out. */
export function ownMemory(value: unknown): Set<ArrayBuffer> {
  if (isNumbers(value)) return new Set(value.buffer instanceof ArrayBuffer ? [value.buffer] : []);
  if (typeof value !== "object" || value === null) return new Set();
  return new Set(Object.values(value).flatMap((inner) => [...ownMemory(inner)]));
}

/** The memory of a result's own vectors, to be transferred with it. */
export const buffersOf = (result: unknown): ArrayBuffer[] =>
  (isNumbers(result) ? [result] : Object.values(result as object))
    .filter(isNumbers)
    .map(({ buffer }) => buffer as ArrayBuffer);

export const cancelled = (): FedflatError => new FedflatError("cancelled", `"job" was cancelled`);

/** An error as it is posted; whatever is not one of ours is a `failed`, of what was expected. */
export function postedError(error: unknown, expected = "finish its job"): PostedError {
  if (error instanceof FedflatError)
    return { name: error.name, code: error.code, message: error.message };
  return {
    name: "FedflatError",
    code: "failed",
    message: `"worker" expected to ${expected}, got ${String(error)}`,
  };
}

/** The error that was posted, of its own class again. */
export function errorFrom({ name, code, message }: PostedError): FedflatError {
  const Class =
    [ModelError, DataError, ConfigError].find((one) => one.name === name) ?? FedflatError;
  return new Class(code, message);
}
