import type { Connection } from "../connection/connection.js";
import type { Dataset } from "../data/dataset.js";
import type { ConfigError, DataError } from "../errors.js";
import type { ModelCard } from "../models/model.js";
import type { Identity, Platform, StateStore } from "../platform/platform.js";
import type { ServerMessageOf } from "../protocol/server-messages.js";
import type { Participant } from "../secure/participant.js";
import type { Emitter } from "./events.js";
import type { LocalExamples } from "./examples.js";
import type { HalfTrained } from "./half-trained.js";
import type { ModelCache } from "./model-cache.js";
import type { ClientEvents, ClientOptions } from "./options.js";
import type { Predictor } from "./predictor.js";
import type { Records } from "./records.js";
import type { TimeLimit } from "./time-limit.js";
import type { Workers } from "./workers.js";

// What the parts of a client share.

/** What a client has from its making to its end, however often it takes part. */
export interface Device {
  readonly options: ClientOptions;
  readonly platform: Platform;
  readonly events: Emitter;
  readonly models: ModelCache;
  readonly workers: Workers;
  readonly predictor: Predictor;
  readonly timeLimit: TimeLimit;
  /** Tells the host, once, of inputs far from unit scale. */
  noteScale(dataset: Dataset, model: Pick<ModelCard, "normalisation">): void;
}

/** A client from the beginning of `run()` to its end. */
export interface Participation extends Device {
  /** Aborted when the client has to stop. */
  readonly stopped: AbortSignal;
  readonly store: StateStore;
  readonly identity: Identity;
  readonly halfTrained: HalfTrained;
  readonly examples: LocalExamples;
  readonly connection: Connection;
  /** Updates whose offer the connection repeats; those of an earlier life are yet to be read. */
  readonly offered: Map<string, Uint8Array | undefined>;
  /** The run, once the aggregator has named it, and what the client remembers of it. */
  session?: { readonly run: string; readonly records: Records };
  task?: Task;
  /** The secure round that it is in, once it has trained. */
  secure?: SecureRound;
  /** The newest evaluation that was reported: the answer to it names its assignment only. */
  reported?: About;
  /** Whether the examples may fit the run's model; `undefined` until that has been checked. */
  fits?: true | DataError;
  /** The examples are being checked. */
  checking?: boolean;
  /** Why this client can train no longer, whatever the aggregator does. */
  unable?: ConfigError;
}

/** An assignment under way. */
export interface Task {
  readonly assign: ServerMessageOf<"assign">;
  readonly controller: AbortController;
  /** Answered or withdrawn: nothing more is sent about it. */
  settled: boolean;
  done: Promise<void>;
}

/** A secure round between its training and its end. */
export interface SecureRound {
  readonly about: About;
  readonly part: Participant;
  readonly weight: number;
}

/** What an event says of the assignment that it is about. */
export type About = Pick<ClientEvents["assignment"], "assignment" | "round" | "task">;

export const aboutOf = ({ assignment, round, task }: ServerMessageOf<"assign">): About => ({
  assignment,
  round,
  task,
});

/** A promise that nobody awaits must not become an unhandled rejection. */
export function inBackground({ stopped, events }: Participation, work: Promise<unknown>): void {
  work.catch((error: unknown) => {
    if (!stopped.aborted) events.problem(error);
  });
}
