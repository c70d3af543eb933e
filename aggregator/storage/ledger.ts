import type { Attempt } from "../rounds/engine.js";

/**
 * What an aggregator remembers over a restart, behind one interface: who is registered, the
 * statistics that clients gave before the first round, which attempt is open, and the committed
 * rounds. `commit` is the only commit point of a run: what it
 * promises is on disk when it resolves, together with the model and the algorithm's state that the
 * record names. An update itself is never stored.
 *
 * Every write names the epoch that `open` returned and is refused (`stale-epoch`) if the ledger was
 * opened again since.
 */
export interface Ledger {
  /**
   * Opens the ledger for this process alone and begins a new epoch. A new ledger begins with
   * `genesis`, the model and the state before the first round, as its commit 0; an old one has its
   * own.
   * @throws ConfigError `state-locked` where another server has it, `state-damaged` where nothing
   * good is left in it, `state-unusable` where it cannot be written.
   */
  open(genesis: Checkpoint): Promise<Opened>;
  /** Remembers a client, or its new number of samples. Durable with the next attempt or commit. */
  register(epoch: number, client: RegisteredClient): Promise<void>;
  /** Durable when it resolves: they are taken once in a run, before its first attempt. */
  keepStatistics(epoch: number, statistics: StatisticsRecord): Promise<void>;
  /** Durable when it resolves. */
  keepThreshold(epoch: number, threshold: ThresholdRecord): Promise<void>;
  /** Durable when it resolves; nothing of the attempt may be sent to anybody before that. */
  beginAttempt(epoch: number, attempt: AttemptRecord): Promise<void>;
  /**
   * Noise is about to be drawn for a round: durable when it resolves, and before that nothing of
   * the round may be published. A round that a crash makes commit again is charged again.
   */
  charge(epoch: number, charge: Charge): Promise<void>;
  /** The attempt is called off: a restart will not reopen it. */
  abandonAttempt(epoch: number, round: number, attempt: number): Promise<void>;
  /**
   * The round is committed when it resolves, and not before: the blobs are durable first, then the
   * record that names them.
   */
  commit(epoch: number, record: CommitRecord, blobs: Checkpoint): Promise<void>;
  /** The last update of this client that is in a committed round. */
  lastCounted(client: string): CountedUpdate | undefined;
  close(): Promise<void>;
}

/** Bytes and their name. */
export interface Blob {
  readonly sha256: string;
  readonly bytes: Uint8Array;
}

/** The global model, and the server's state of the algorithm. */
export interface Checkpoint {
  readonly model: Blob;
  readonly state: Blob;
}

/** The commit before the first round. */
export const genesisRecord = ({ model, state }: Checkpoint): CommitRecord => ({
  round: 0,
  attempt: 0,
  model: model.sha256,
  state: state.sha256,
  members: [],
  line: {},
});

export interface Opened {
  readonly epoch: number;
  /** The run's id: 32 hex digits, made when the ledger was. */
  readonly run: string;
  /** The last good commit and its checkpoint. */
  readonly last: Checkpoint & { readonly record: CommitRecord };
  /** The attempt that was open when the process ended. */
  readonly attempt?: AttemptRecord;
  /** The last attempt that was begun, open or not. */
  readonly latest?: AttemptRecord;
  /** What was charged for privacy, in order. */
  readonly charges: readonly Charge[];
  readonly clients: readonly RegisteredClient[];
  /** Where the run has taken them. */
  readonly statistics?: StatisticsRecord;
  /** The last one that was taken. */
  readonly threshold?: ThresholdRecord;
  /** All commits, from the first. */
  readonly history: readonly CommitRecord[];
  /** What was found and mended, in sentences. */
  readonly notes: readonly string[];
}

/** A release that the account of privacy has to count. */
export interface Charge {
  readonly round: number;
  readonly attempt: number;
  /** The noise multiplier, and the chance with which a client was in. */
  readonly noise: number;
  readonly sampling: number;
}

export interface RegisteredClient {
  readonly id: string;
  /** n_k, if known. */
  readonly samples: number | null;
}

/** What clients said of their inputs before the first round, made into one. */
export interface StatisticsRecord {
  /** Examples that count. */
  readonly count: number;
  /** Of each channel, over the examples of all. */
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
  /** Of each number of the targets, where they are numbers of their own. */
  readonly targets?: { readonly mean: readonly number[]; readonly deviation: readonly number[] };
  /** What an input is divided by first. */
  readonly scale: number;
  /** The clients, sorted. */
  readonly members: readonly string[];
  /** Clients whose numbers were further off than one client may be, and in which channels; those of the targets behind those of the inputs. */
  readonly held: readonly { readonly client: string; readonly channels: readonly number[] }[];
}

/** Above which error an example is out of the ordinary, as clients' held-out examples say. */
export interface ThresholdRecord {
  /** The round whose model it is of: the last one. */
  readonly round: number;
  readonly quantile: number;
  readonly value: number;
  /** The clients whose errors it is of, sorted; and those left out at either end. */
  readonly members: readonly string[];
  readonly leftOut: readonly string[];
}

/** What an attempt needs so that it can be opened again as it was. */
export interface AttemptRecord extends Omit<Attempt, "phase"> {
  /** The most samples that an update of this attempt may claim: it decides the fold's grid. */
  readonly maxSamples: number;
  /**
   * 32 random bytes in hex, the same in all of a run, from which each client's assignment id is
   * derived.
   */
  readonly key: string;
  /** How the run's rounds go (`mode` in settings.ts). */
  readonly mode: string;
}

export interface CommitRecord {
  /** 0 is the model before the first round. */
  readonly round: number;
  readonly attempt: number;
  /** SHA-256 of the model blob and of the blob of the algorithm's state. */
  readonly model: string;
  readonly state: string;
  /** Sorted by client. */
  readonly members: readonly CountedUpdate[];
  /** What `rounds.jsonl` says of the round. */
  readonly line: Readonly<Record<string, unknown>>;
}

/** One update in a committed round. */
export interface CountedUpdate {
  readonly client: string;
  readonly round: number;
  readonly assignment: string;
  /** SHA-256 of the update. */
  readonly sha256: string;
}
