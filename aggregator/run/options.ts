import type { Algorithm } from "../../runtime/algorithms/algorithm.js";
import type { Model } from "../../runtime/models/model.js";
import type { ClientState } from "../clients/clients.js";
import type { EvaluationRecord, Tested } from "./evaluation-record.js";
import type { Admission } from "../sessions/authentication.js";
import type { Log } from "../log.js";
import type { Doubt } from "./client-means.js";
import type { Spent } from "./privacy.js";
import type { RoundRecord, RoundTimings } from "./round-record.js";
import type { Refusal } from "../aggregation/validation.js";
import type { Phase } from "../rounds/participants.js";
import type { Attempt, RoundProgress } from "../rounds/engine.js";
import type { GivenSettings } from "../settings.js";
import type { TakenThreshold } from "../clients/threshold.js";
import type { Ledger, StatisticsRecord } from "../storage/ledger.js";

// Options and events of the aggregator.

export interface AggregatorOptions {
  /**
   * The network with the weights to begin with; after a resume the checkpoint's weights take their
   * place.
   */
  readonly model: Model;
  readonly settings?: GivenSettings;
  /** An algorithm that is not built in; its name goes before the settings'. */
  readonly algorithm?: Algorithm;
  /** The run's folder; without one nothing outlives the process. */
  readonly folder?: string;
  /** Resume the run in that folder. */
  readonly resume?: boolean;
  /** Open no round, or none after the one that is open, before `release`. */
  readonly hold?: boolean;
  /**
   * No client but those that come at the beginning will ever come, and none of them changes, as in
   * a simulation: the run ends where too few of them can train.
   */
  readonly clientsAreAll?: boolean;
  /** What else the run's config.json holds. */
  readonly config?: Readonly<Record<string, unknown>>;
  /**
   * Evaluates a round's model (a model blob) on test data that the server has. Must not block the
   * event loop.
   */
  readonly evaluate?: (model: Uint8Array, round: number) => Promise<Tested>;
  /** Which clients may take part; any key where not given. */
  readonly admission?: Admission;
  readonly log?: Log;
  /** Takes the place of the folder's own ledger. */
  readonly ledger?: Ledger;
}

export interface AggregatorEvents {
  /** What the run waits for, in a sentence; at each change. */
  waiting: [sentence: string];
  client: [
    change: {
      readonly client: string;
      readonly change: "joined" | "ready" | "busy" | "left" | "forgotten";
      readonly reason?: string;
      /** Busy, and what it would decline an assignment for: it cannot take part as it is. */
      readonly code?: string;
    },
  ];
  /** A connection or a client was refused, for what reason. */
  turnedAway: [who: { readonly reason: string; readonly address: string }];
  opened: [attempt: Pick<Attempt, "round" | "attempt" | "selected" | "goal" | "phase">];
  /** Clients have given statistics of their inputs, by which the model normalises them. */
  statistics: [record: StatisticsRecord];
  /** The rounds begin without statistics; the sentence says why. */
  withoutStatistics: [sentence: string];
  /** After the last round, where the run was to take a threshold. */
  threshold: [taken: TakenThreshold];
  progress: [
    progress: {
      readonly client: string;
      readonly round: number;
      readonly batch: number;
      readonly batches: number;
      readonly loss: number;
    },
  ];
  /** An update was folded. */
  counted: [
    update: {
      readonly client: string;
      readonly round: number;
      readonly counted: number;
      readonly goal: number;
      /** Rounds committed since the model that it was trained from. */
      readonly staleness: number;
      readonly bytes: number;
      /** Euclidean norm of the delta, as it was sent; kept back in private runs. */
      readonly norm?: number;
      readonly clipped?: boolean;
      readonly foldSeconds: number;
      /** How long the client says that it trained; kept back in private runs. */
      readonly trainSeconds?: number;
    },
  ];
  /**
   * A client's work will not be in the round: it came late, the client declined, failed or is gone;
   * `code` says which.
   */
  missed: [
    work: {
      readonly client: string;
      readonly round: number;
      readonly code: string;
      /** Why, in words, where the client said so. */
      readonly reason?: string;
      /** The client is not asked again before it says that something has changed. */
      readonly barred?: boolean;
    },
  ];
  refused: [refusal: Refusal & { readonly client: string }];
  /** What a client says that it measured is doubtful: it is left out, or counts as less. */
  doubted: [doubt: Doubt & { readonly round: number }];
  abandoned: [
    attempt: {
      readonly round: number;
      readonly attempt: number;
      readonly reason: string;
      readonly phase?: Phase;
    },
  ];
  round: [record: RoundRecord, timings: RoundTimings];
  evaluation: [record: EvaluationRecord];
}

/** Tells listeners of an event. */
export type Tell = <E extends keyof AggregatorEvents>(
  event: E,
  ...args: AggregatorEvents[E]
) => void;

/** How a run came to rest. */
export interface Ending {
  readonly reason: "finished" | "stopped" | "failed";
  /** Why it stopped or failed. */
  readonly message: string;
  /** Rounds committed. */
  readonly rounds: number;
  /** The model blob of the last committed round. */
  readonly model: Uint8Array;
}

/** Resources in use. */
export interface Load {
  readonly clients: Readonly<Record<ClientState, number>>;
  readonly connections: number;
  /** Memory taken by updates that are granted and not folded yet. */
  readonly bytesInFlight: number;
}

/** Where the rounds are. */
export interface Situation extends RoundProgress {
  readonly waitsFor: string;
  /** The state of the engine: `finished` and `stopped` are the ends. */
  readonly at: string;
  readonly committed: number;
  /** Milliseconds until the deadline of an open round. */
  readonly left: number | undefined;
  /** No further round opens before `release`. */
  readonly held: boolean;
  /** No further round opens. */
  readonly draining: boolean;
}

export interface Status {
  readonly run: string;
  /** Rounds committed, and to be committed. */
  readonly committed: number;
  readonly rounds: number;
  readonly waitsFor: string;
  /** How updates are combined, and how many hostile ones that bears. */
  readonly bears: string;
  readonly model: string;
  /** What a run with differential privacy has spent. */
  readonly privacy?: Spent;
  /** What clients said of their inputs before the first round, once they have. */
  readonly statistics?: StatisticsRecord & { readonly remarks: readonly string[] };
  readonly clients: readonly ClientStatus[];
}

export interface ClientStatus {
  readonly id: string;
  readonly connected: boolean;
  readonly state: string;
  readonly samples: number | null;
}
