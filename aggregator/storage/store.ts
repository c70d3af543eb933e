import type { ClientMessageOf } from "../../runtime/protocol/client-messages.js";
import type { Work } from "../rounds/participants.js";
import type {
  AttemptRecord,
  Blob,
  Checkpoint,
  CommitRecord,
  CountedUpdate,
  RegisteredClient,
} from "./ledger.js";

/**
 * What the processes of one run share. A leaf holds connections, checks updates and folds them; the
 * coordinator opens rounds, merges what leaves have folded and commits. Neither speaks to the other:
 * both read and write the store's rows, so the one that takes over reads, and nobody can miss a message.
 *
 * **The row of an assignment is the permission to fold**: `asked -> claimed -> shipped ->
 * committed`, or `asked -> ended`. Back to `asked` goes only what a leaf had claimed that is dead,
 * and what it had shipped where the partial is lost too.
 *
 * Every call may be said again, with the same outcome: its answer may have been lost. Ids and
 * hashes are hex. Durations are milliseconds.
 */
export interface Store {
  /**
   * Joins the run as a leaf of a new life.
   * @param build the kernels that it folds with: those of the run
   * @throws ConfigError `build` for others, with which the same updates give other bits
   */
  join(build: string): Promise<LeafStore>;
  /**
   * What there is to watch, without locks: the coordinator's beats and the leaves', each of which
   * counts as silent when the same beat was read for long enough.
   */
  readings(): Promise<readonly Reading[]>;
  /**
   * Becomes the coordinator in place of the one of epoch `seen` (0: of nobody), and begins the next
   * epoch. Undefined where another was faster.
   */
  take(seen: number): Promise<CoordinatorStore | undefined>;
  close(): Promise<void>;
}

/** A beat as it was read. */
export interface Reading {
  /** A leaf's id, or the epoch of the coordinator. */
  readonly who: { readonly leaf: string } | { readonly epoch: number };
  /** Another string after each beat. */
  readonly beat: string;
  /** It said that it ends: nobody need wait for its silence. */
  readonly left: boolean;
}

/** @throws FedflatError `stale-leaf` from every call, once this leaf was reaped. */
export interface LeafStore {
  /** Drawn by the process, one for each life. */
  readonly leaf: string;
  readonly blobs: BlobStore;
  beat(load: LeafLoad): Promise<void>;
  /**
   * Says who is here, in what state. Writes only what differs, and never over a row with a larger
   * line, nor over one with the same line at another leaf.
   * Resolves to the clients that are not this leaf's: their lines are to be closed.
   */
  present(changes: readonly Presence[]): Promise<readonly string[]>;
  /** What is known of clients that have proven who they are; draws a line for each. */
  whois(clients: readonly string[]): Promise<readonly Known[]>;
  /** What `claim` would answer, as far as it is known: no lock, no change. */
  standing(offers: readonly Claim[]): Promise<readonly Claimed[]>;
  /**
   * Asks for permission to fold these updates, which are whole and have passed every check; a
   * client at most once. Takes those whose rows are `asked`, for the open attempt's work, not staler
   * than it allows, whose client is not in this round yet, in the order given until the goal is
   * reached; and seals the attempt then. Answers in that order.
   */
  claim(offers: readonly Claim[]): Promise<readonly Claimed[]>;
  /** Ends work that came to nothing at its client. Touches only what is `asked`. */
  end(ended: readonly AssignmentKey[], code: string): Promise<void>;
  /**
   * What this leaf has folded is in that partial: from `claimed` to `shipped`. By the partial's
   * name nothing happens twice.
   * @throws FedflatError `claims-differ`, with nothing changed, unless the members are those that this
   * leaf has claimed for the attempt and not shipped
   */
  ship(partial: PartialFold): Promise<void>;
  /** What concerns this leaf and is new since; everything where `since` is undefined. */
  news(since: string | undefined): Promise<LeafNews>;
  /** Ends this life: what it has claimed and not shipped is `asked` again, its clients are away. */
  leave(): Promise<void>;
}

/** @throws FedflatError `stale-epoch` from every call, once another has taken over. */
export interface CoordinatorStore {
  readonly epoch: number;
  readonly blobs: BlobStore;
  beat(): Promise<void>;
  news(since: string | undefined): Promise<CoordinatorNews>;
  /**
   * Opens an attempt, with its rows; durable when it resolves. The one before must have ended.
   * @param staleness the most commits between an update's model and the round that it is counted in
   */
  begin(
    attempt: AttemptRecord,
    terms: { readonly goal: number; readonly staleness: number },
    asked: readonly AskedWork[],
  ): Promise<void>;
  /** More rows, for the open attempt or, in buffered rounds, for the next one. A row that is there and `asked` stays as it is. */
  ask(asked: readonly AskedWork[]): Promise<void>;
  end(ended: readonly AssignmentKey[], code: string): Promise<void>;
  /**
   * Seals the attempt: nothing is claimed any more. False, with nothing changed, where fewer than
   * `least` are claimed; true also where it is sealed already.
   */
  seal(attempt: AttemptKey, least: number): Promise<boolean>;
  /** The leaf is dead: its claims are `asked` again and open the attempt, its clients are away. */
  reap(leaf: string): Promise<void>;
  /** The rows that are claimed or shipped for the attempt, sorted by client. */
  counted(attempt: AttemptKey): Promise<readonly AssignmentRow[]>;
  /** The partials that were shipped for the attempt, in order of their names. */
  partials(attempt: AttemptKey): Promise<readonly PartialFold[]>;
  /** A partial is gone, and so is its leaf: its members are `asked` again and open the attempt. */
  lost(partial: string): Promise<void>;
  /**
   * The round is committed when it resolves, and not before: the only commit point. Ends what can
   * be counted no more: `late`, or `stale` where it may lie several commits back.
   * @throws FedflatError `claims-differ`, with nothing changed, unless the attempt is sealed and the
   * record's members are those of the partials, and everybody who was claimed
   */
  commit(record: CommitRecord, blobs: Checkpoint, partials: readonly string[]): Promise<void>;
  /** Clients may hear of that commit: it is as durable as it will be. */
  tell(round: number): Promise<void>;
  /** Calls the attempt off: what is not committed of it ends. */
  abandon(attempt: AttemptKey): Promise<void>;
  /** What the run waits for, and for how long that state may last: what leaves tell idle clients. */
  say(sentence: string, lasts: number): Promise<void>;
  /** Lets the next coordinator take over at once. */
  resign(): Promise<void>;
}

/** Bytes by their hash, which `get` checks. */
export interface BlobStore {
  put(blob: Blob): Promise<void>;
  get(sha256: string): Promise<Blob | undefined>;
  /** Those that no kept commit names; never "all others", for this list may be old. */
  drop(sha256s: readonly string[]): Promise<void>;
}

export type AttemptKey = Pick<AttemptRecord, "round" | "attempt">;

/** Names the row of an assignment. */
export interface AssignmentKey {
  readonly client: string;
  readonly work: Work;
}

/** Work that a client is given. */
export interface AskedWork extends AssignmentKey {
  /** Its id on the wire. */
  readonly id: string;
  /** From when it is asked; without it the work is due with the round. */
  readonly lease?: number | undefined;
}

/** An update for which a leaf asks permission to fold. */
export interface Claim extends AssignmentKey {
  readonly sha256: string;
  /** As its client says. */
  readonly samples: number;
  readonly metrics: ClientMessageOf<"offer">["metrics"];
}

export interface Claimed {
  readonly client: string;
  /**
   * `yours`: fold it, in the round `into`. `elsewhere`: another leaf has it. `wait`: its attempt is
   * sealed, or none is open; ask again at the next news. `conflict`: counted with another hash.
   * `ended`: with `code`. `committed`: in the model. `unknown`: no such row.
   */
  readonly outcome: "yours" | "elsewhere" | "wait" | "conflict" | "ended" | "committed" | "unknown";
  readonly into?: number;
  readonly code?: string;
}

/** The row of an assignment. */
export interface AssignmentRow extends AskedWork {
  readonly status: "asked" | "claimed" | "shipped" | "committed" | "ended";
  /** How it ended. */
  readonly code?: string;
  /** From `claimed` on: who has it, in which round it counts, and what was claimed. */
  readonly leaf?: string;
  readonly into?: number;
  readonly claim?: Omit<Claim, keyof AssignmentKey>;
  /** From `shipped` on. */
  readonly partial?: string;
}

/** What a leaf has folded of an attempt: any number of them merge. */
export interface PartialFold extends AttemptKey {
  /** SHA-256 of its bytes. */
  readonly name: string;
  readonly leaf: string;
  /** The clients in it. */
  readonly members: readonly string[];
  /**
   * Where its bytes are: `blobs` under its name; or `here`, in the fold of the process that is
   * coordinator as well.
   */
  readonly place: "blobs" | "here";
}

export interface AttemptRow extends AttemptRecord {
  readonly state: "open" | "sealed" | "committed" | "abandoned";
  /** Updates wanted, and those that have been claimed. */
  readonly goal: number;
  readonly claimed: number;
  readonly staleness: number;
}

/** Where a client is. */
export interface Presence extends RegisteredClient {
  /** Larger for each later line of the client. */
  readonly line: number;
  readonly standing: "ready" | "busy" | "unfit" | "unsaid" | "gone";
  /** Why it is not ready, in words. */
  readonly reason?: string | undefined;
  /** Kernels that it computes with. */
  readonly build: string | null;
}

export interface PresenceRow extends Presence {
  /** Undefined: away, and drawn all the same until its absence is over. */
  readonly leaf: string | undefined;
}

/** What the store knows of a client that has come. */
export interface Known {
  readonly client: string;
  readonly line: number;
  readonly samples: number | null;
  readonly counted: CountedUpdate | undefined;
  readonly assignments: readonly AssignmentRow[];
}

export interface LeafRow {
  readonly leaf: string;
  readonly state: "live" | "leaving" | "dead";
  readonly load: LeafLoad | undefined;
}

/** What a process says of itself beside its beat. */
export interface LeafLoad {
  readonly lines: number;
  readonly bytesInFlight: number;
}

interface News {
  /** For the next call. */
  readonly since: string;
  /**
   * Of the store's memory of claims and presence. Another one: it has forgotten a tail, and its
   * reader starts over: `since` undefined, all lines presented, its fold's members claimed again.
   */
  readonly life: number;
  /** The last attempt, whatever its state. */
  readonly attempt: AttemptRow | undefined;
  /** What people want of the run. */
  readonly wish: "hold" | "release" | "drain" | "stop" | undefined;
}

/** Acted upon in this order: closes, what is committed, what ended, what is asked. */
export interface LeafNews extends News {
  /** Clients with a line here that are at another leaf now. */
  readonly moved: readonly string[];
  /** The last commit that clients may hear of, where it is new. */
  readonly told: Pick<CommitRecord, "round" | "model"> | undefined;
  /** Rows of clients that are here, where row or presence is new. */
  readonly rows: readonly AssignmentRow[];
  /** Names of this leaf's partials whose bytes are missing: it puts and ships them again. */
  readonly missing: readonly string[];
  readonly says: { readonly sentence: string; readonly lasts: number } | undefined;
}

export interface CoordinatorNews extends News {
  /** Rows of the attempt, and those that may still be counted. */
  readonly rows: readonly AssignmentRow[];
  readonly presence: readonly PresenceRow[];
  readonly leaves: readonly LeafRow[];
}
