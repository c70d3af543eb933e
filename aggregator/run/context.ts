import type { Assignments } from "../clients/assignments.js";
import type { Client } from "../clients/clients.js";
import type { RunDefinition } from "./definition.js";
import type { Reducer } from "../aggregation/reducer.js";
import type { WithRetry } from "../storage/retry.js";
import type { Evaluations } from "./evaluations.js";
import type { Log, OthersLog } from "../log.js";
import type { Models } from "../storage/model-cache.js";
import type { Account } from "./privacy.js";
import type { RoundEvent, Rounds } from "../rounds/engine.js";
import type { Tell } from "./options.js";
import type { RosterTeller } from "./roster.js";
import type { RunFolder } from "../storage/run-folder.js";
import type { EmbeddedLeaf, EmbeddedStore } from "../storage/embedded.js";
import type { Ledger } from "../storage/ledger.js";
import type { Uploads } from "../clients/uploads.js";

/** What a run is, its rounds, and where events and log lines go. */
export interface RunBase {
  /** The run's id. */
  readonly run: string;
  readonly definition: RunDefinition;
  readonly rounds: Rounds;
  /** Sends the rounds an event. */
  readonly send: (event: RoundEvent) => void;
  /** Emits an event to the listeners. */
  readonly tell: Tell;
  readonly log: Log;
  /** For what clients can cause. */
  readonly othersLog: OthersLog;
}

/** Where a run is remembered. */
export interface RunStorage {
  /** Of the coordinator, and of the leaf beside it. */
  readonly store: EmbeddedStore;
  readonly leafStore: EmbeddedLeaf;
  readonly ledger: Ledger;
  /** Of the ledger, that of this process. */
  readonly epoch: number;
  readonly withRetry: WithRetry;
}

/** Everything a running run is made of; each file picks what it needs. */
export interface RunContext extends RunBase, RunStorage {
  readonly reducer: Reducer;
  /** Of a run with differential privacy. */
  readonly account: Account | undefined;
  readonly models: Models;
  readonly uploads: Uploads;
  readonly roster: RosterTeller;
  readonly assignments: Assignments;
  readonly evaluations: Evaluations;
  /** Where people read about the run, if anywhere. */
  readonly folder: RunFolder | undefined;
  /** In the order in which they first came. */
  readonly clients: ReadonlyMap<string, Client>;
  /** The client of this id, created if it is new. */
  readonly clientOf: (id: string) => Client;
}
