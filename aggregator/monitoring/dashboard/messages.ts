import type { RoundFigures } from "../base-figures.js";

// What the aggregator tells the page, one JSON object in each server-sent event. A part that is not
// there has not changed.

export interface PageUpdate {
  /** Once, at the beginning of a stream. */
  readonly run?: RunCard;
  readonly now?: Now;
  readonly clients?: ClientCounts;
  /** What inputs and targets are normalised by, where clients have said it before the first round. */
  readonly inputs?: readonly InputRow[];
  /** What threshold of anomalies was taken, in a sentence; empty where none was asked for. */
  readonly threshold?: string;
  /** Rounds that are new or know more than before. */
  readonly rounds?: readonly RoundPoint[];
  /** Entries that are new or count more than before. */
  readonly log?: readonly LogEntry[];
  /** The part of the clients' table that this viewer looks at. */
  readonly table?: TableChange;
  /** Everything up to here has been sent: where a stream that is opened again continues. */
  readonly revision?: number;
}

export interface RunCard {
  readonly run: string;
  /**
   * Another feed counts revisions from its own start, so what is known of this one is dropped.
   */
  readonly feed: string;
  readonly model: string;
  readonly algorithm: string;
  /** MAN's coefficient. */
  readonly zeta: number;
  readonly rounds: number;
  /** How updates are combined, and how many hostile ones that bears. */
  readonly bears: string;
  /** Whose activations the norms of a round are, by layer. */
  readonly layers: readonly string[];
  /** What models are judged by, and which figures of a round say it. */
  readonly metric: {
    readonly title: string;
    readonly unit: string;
    readonly test: string;
    readonly client: string;
  };
  /** What the reader of this stream may do. */
  readonly role: Role;
  /** There is a token by which a viewer becomes an admin. */
  readonly hasAdmin: boolean;
}

/** A channel of the inputs, or a number of the targets. */
export interface InputRow {
  readonly name: string;
  readonly mean: number;
  readonly deviation: number;
  /** It never changes. */
  readonly constant: boolean;
}

export type Role = "admin" | "viewer";

export interface Now {
  /** What the run waits for. */
  readonly sentence: string;
  /** As on the card, where it changes. */
  readonly bears?: string;
  /** `finished` and `stopped` are the ends. */
  readonly at: string;
  readonly committed: number;
  readonly round: number;
  readonly attempt: number;
  readonly counted: number;
  /** Updates wanted; 0 where no round is open. */
  readonly goal: number;
  /**
   * Mean progress of those who train in this round, from 0 to 1; those who have sent their update
   * count as 1.
   */
  readonly trained: number;
  /** Milliseconds that are left of the round's deadline, where one is open. */
  readonly left?: number;
  /** No further round opens until an admin lets it. */
  readonly held: boolean;
  /** The run ends after this round. */
  readonly draining: boolean;
}

/**
 * Clients by state; `counted` and `missed` are those of the round that is open, or of the last one.
 */
export type ClientCounts = Readonly<Record<ClientFilter, number>>;

export const CLIENT_FILTERS = [
  "all",
  "training",
  "evaluating",
  "ready",
  "busy",
  "away",
  "unfit",
  "counted",
  "missed",
] as const;
export type ClientFilter = (typeof CLIENT_FILTERS)[number];

/** Rows of the table shown at a time. */
export const PAGE_ROWS = 50;

export interface TableChange {
  /** How many clients the filter leaves. */
  readonly total: number;
  /** Ids of the rows shown, from top to bottom, where they have changed. */
  readonly order?: readonly string[];
  /** Rows that are new or differ. */
  readonly rows: readonly ClientRow[];
}

export interface ClientRow {
  readonly id: string;
  readonly standing: Exclude<ClientFilter, "all" | "counted" | "missed">;
  /** Why it is busy, or what it lacks. */
  readonly note?: string;
  readonly samples: number | null;
  /** Of its training in this round, from 0 to 1. */
  readonly share?: number;
  readonly loss?: number;
  /** What became of its work: `counted`, or the code of why it was not. */
  readonly outcome?: string;
}

/** Everything known of a round. */
export interface RoundPoint extends RoundFigures {
  readonly round: number;
  /** All frames since the round before, seen from the aggregator. */
  readonly receivedBytes?: number;
  readonly sentBytes?: number;
}

export interface LogEntry {
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly level: "info" | "good" | "warning";
  readonly text: string;
}
