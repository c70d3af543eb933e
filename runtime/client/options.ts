import type { Algorithm } from "../algorithms/algorithm.js";
import type { EndReason } from "../connection/connection.js";
import type { Part } from "../data/dataset.js";
import type { Expected } from "../data/matching.js";
import type { Model } from "../models/model.js";
import type { SocketOptions } from "../platform/platform.js";
import type { Trainer } from "../training/job.js";
import type { Evaluation, Progress } from "../training/local-round.js";

/** Any typed array of numbers; a Buffer is none, since its bytes may be those of other numbers. */
export type Numbers =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Uint8ClampedArray
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigInt64Array
  | BigUint64Array;
/** Numbers in nested lists, all of one length at each depth: [[...], [...]]. */
export type Nested = readonly number[] | readonly Numbers[] | readonly Nested[];
export type Inputs = Numbers | Nested;

/**
 * A device's own examples: `x` holds the inputs end to end (or as nested lists), `y` one class per
 * example: its name, or its number from 0 in the model's `classes`. Where the model compares with
 * several classes or numbers, `y` holds a list of them for each example; where it compares with its
 * input, there is no `y`. Or a part of a data set, as the readers of fedflat/data make
 * them: its class names and columns are matched to the model's by name.
 */
export type ClientData =
  | {
      readonly x: Inputs;
      readonly y?: ArrayLike<number> | ArrayLike<bigint> | readonly string[] | Nested;
    }
  | Part;

/** What the client's function is told when data are requested: for which work, and of what form. */
export interface DataRequest extends Expected {
  readonly assignment: string;
  readonly round: number;
  readonly task: string;
}

export interface Limits {
  /** Largest model, as its file. */
  readonly modelBytes?: number;
  /** Most memory that training may take, estimated from model and batch before it begins. */
  readonly memoryBytes?: number;
  /** Longest local round. */
  readonly seconds?: number;
}

export interface ClientOptions {
  /** Where the aggregator listens: ws://... or wss://... */
  readonly url: string;
  /**
   * Where key, unfinished work and the algorithm's state are kept: a folder, in a browser the name
   * of a database.
   */
  readonly state: string;
  /** The device's examples, or what gives them for each assignment, so that fresh data count. */
  readonly data: ClientData | ((request: DataRequest) => ClientData | Promise<ClientData>);
  /** An assignment outside these is declined by name. */
  readonly limits?: Limits;
  /** Whether the device may train now: true, or the reason why not. Asked every few seconds. */
  readonly available?: () => true | string;
  /** Share of the examples that is never trained on and serves evaluation. Default 0.1. */
  readonly holdOut?: number;
  /** Bearer or enrolment token, where the aggregator asks for one. */
  readonly token?: string;
  readonly tls?: SocketOptions["tls"];
  /**
   * End as `unreachable` after so many milliseconds without the aggregator. Default: try for ever.
   */
  readonly patience?: number;
  /** Algorithms in addition to the built-in ones. */
  readonly algorithms?: readonly Algorithm[];
  /**
   * Train only in secure rounds of at least so many clients, whose aggregator learns the sum of
   * their updates and none of them.
   */
  readonly secureOnly?: number;
  /**
   * Trains in place of a worker of the client's own, and may be shared by several clients. It is
   * not closed.
   */
  readonly trainer?: Trainer;
}

/** A global model as it was committed. */
export interface CommittedModel extends Model {
  /** The round that made it; absent where it is not known. */
  readonly round?: number;
  /** Its name: the hash of its file. */
  readonly sha256: string;
  /** The hash of its base, where frozen or personal layers have a file of their own. */
  readonly base?: string;
}

/** What a model says of one example: `task` is that of its loss. */
export type Prediction =
  | {
      readonly task: "classes";
      /** Index and name of the most probable class. */
      readonly label: number;
      readonly name: string;
      /** One for each class. */
      readonly probabilities: Float32Array;
    }
  | {
      readonly task: "sequence";
      /** Of each position, index and name of the most probable class. */
      readonly labels: readonly number[];
      readonly names: readonly string[];
      /** [positions, classes] end to end. */
      readonly probabilities: Float32Array;
    }
  | {
      readonly task: "labels";
      /** The labels whose probability is a half and more. */
      readonly names: readonly string[];
      /** One for each label. */
      readonly probabilities: Float32Array;
    }
  | {
      readonly task: "numbers";
      /** In the target's units. */
      readonly values: Float64Array;
    }
  | {
      readonly task: "input";
      /** Mean error of the example, in normalised units. */
      readonly error: number;
      /** Where the model has a threshold, whether the error is above it. */
      readonly threshold?: number;
      readonly anomaly?: boolean;
    };

export interface ClientEvents {
  /** After a batch, at most ten times a second, and after the last one. */
  progress: Progress & { readonly round: number };
  /**
   * Each newly committed global model. Without a listener only the models to train on are fetched.
   */
  model: CommittedModel;
  /** What becomes of an assignment. */
  assignment: {
    readonly assignment: string;
    readonly round?: number;
    /**
     * `train`; `evaluate` where the model is only measured, `statistics` where the inputs are, before
     * the first round.
     */
    readonly task?: string;
    readonly what:
      | "accepted"
      /** Training resumes where an earlier life of the client was cut. */
      | "resumed"
      /**
       * A half-trained round that was kept cannot be continued: training begins at the first
       * batch.
       */
      | "dropped"
      | "declined"
      | "failed"
      | "offered"
      | "reported"
      | "received"
      | "committed"
      | "refused";
    /** Why it was declined, refused or dropped, or failed. */
    readonly code?: string;
    readonly message?: string;
  };
  /** The connection to the aggregator is up, or lost and dialled again in so many milliseconds. */
  line: {
    readonly up: boolean;
    readonly reason?: string;
    readonly retryIn?: number;
  };
  /** Something about the data that the host should know, though nothing ends by it. */
  notice: { readonly message: string };
  /** What the aggregator waits for. */
  wait: { readonly reason: string };
  /** Something went wrong that did not end the client. */
  problem: Error;
}

/** How `personalise` fine-tunes: by SGD in batches of 32, gradients clipped to norm 10. */
export interface PersonaliseOptions {
  /** Passes over the examples; 0 drops the personal model. Default 5. */
  readonly epochs?: number;
  /** Default 0.01. */
  readonly learningRate?: number;
}

/**
 * What the model before and the personal one are worth on the examples that the client holds out:
 * `correct` and `loss` are sums over `count` of them. Nothing where none is held out.
 */
export interface Personalised {
  readonly global: Evaluation | undefined;
  readonly personal: Evaluation | undefined;
}

/** How a run ended for this client. */
export interface Outcome {
  /** `finished` by the aggregator, `stopped` by the host, or why the client may not continue. */
  readonly reason: "stopped" | Exclude<EndReason, "closed">;
  readonly message: string;
  /** The newest global model that this client has. */
  readonly model?: CommittedModel;
}
