import type { Members, Phase, SecurePhase, Work } from "./participants.js";

/**
 * The mode of a run as a pure state machine: the aggregator sends it what happened and carries out
 * the effects that it answers with. `synchronous` (synchronous.ts) and `buffered` (buffered.ts) are
 * the two modes; the aggregator does not ask which it has. There is no clock and no input or output
 * in rounds/: time comes as the `deadline` and `expired` events that the machine asked for.
 */
export interface RoundEngine<State extends EngineState> {
  /**
   * The most commits that may lie between an update's own model and the one that it is folded into.
   */
  readonly maxStaleness: number;
  /**
   * The first state of a run, from the last committed round and the attempt that a restart found
   * open; after another machine, whose last state says what holds on.
   */
  start(committed: number, reopened?: Attempt, after?: Common): Step<State>;
  /** One step. An event that does not concern the state leaves it as it is. */
  step(state: State, event: RoundEvent): Step<State>;
  /** What the run waits for, in a sentence. */
  waitsFor(state: State): string;
  /**
   * When a client with nothing to do should ask again, in milliseconds, spread by a jitter that the
   * client's id and the state decide, so that clients do not all come at once.
   */
  retryAfter(state: State, client: string): number;
  /**
   * Work that a client may be doing although this process did not give it: given before a restart.
   * The newest first.
   */
  outstanding(state: State): readonly Work[];
}

/** What every engine's state has. */
export interface EngineState {
  /**
   * `finished` and `stopped` are the ends; every other state has exactly one deadline armed, so
   * that nothing waits for ever.
   */
  readonly at: string;
  /** Counts the deadlines armed so far; a `deadline` event with another number is stale. */
  readonly deadline: number;
  readonly roster: Roster;
  /** No further round is opened. */
  readonly draining: boolean;
  /** No further round is opened until a `release`. */
  readonly held: boolean;
  /**
   * The open round and what became of the clients asked; without one, `round` is the next round, or
   * the last one.
   */
  readonly open?: Attempt;
  readonly members?: Members;
  readonly round?: number;
  /** What the clients are asked for now; absent where it is training. */
  readonly phase?: Phase;
}

/** What every state has, and hands on to the next. */
export type Common = Pick<EngineState, "deadline" | "roster" | "draining" | "held">;

export interface Step<State> {
  readonly state: State;
  readonly effects: readonly RoundEffect[];
}

/** The clients that can be drawn now, and the figures that a round freezes when it opens. */
export interface Roster {
  /** Sorted. */
  readonly ids: readonly string[];
  /** Those of them that are connected and have sent `ready` or `busy` on this connection. */
  readonly connected: readonly string[];
  /** m, all registered clients, eligible now or not. */
  readonly population: number;
  /** Registered clients that are not asked, since their work would fail again. */
  readonly barred?: number;
  /** mean(n) over those that can be drawn, each of them up to the cap (clients/claims.ts). */
  readonly meanSamples: number;
}

/** The attempt in progress, with what was frozen when it opened. */
export interface Attempt {
  readonly round: number;
  readonly attempt: number;
  /** Sorted; nobody where any client may send an update. */
  readonly selected: readonly string[];
  /** Updates wanted: the round closes as soon as so many are counted. */
  readonly goal: number;
  readonly population: number;
  readonly meanSamples: number;
  /** Absent where it is training. */
  readonly phase?: Phase;
}

/** The most updates that an attempt can have. */
export const mostUpdates = ({ selected, goal }: Attempt): number => Math.max(selected.length, goal);

export type RoundEvent =
  | { readonly type: "roster"; readonly roster: Roster }
  /** The attempt stands in the journal. */
  | { readonly type: "begun" }
  /** A client's update is whole, has passed every check, and is counted: the store has said so. */
  | { readonly type: "admitted"; readonly client: string; readonly work: Work }
  /** What was counted of this client was lost before it was gathered: it is asked again. */
  | { readonly type: "returned"; readonly client: string; readonly work: Work }
  /** The attempt is sealed, and what is counted in it is in one fold. */
  | { readonly type: "gathered" }
  /** It is not sealed: too few updates are counted. */
  | { readonly type: "short" }
  /**
   * A client's update was refused for good (`refused`); a client left for longer than it may,
   * declined, or failed (`gone`).
   */
  | {
      readonly type: "refused" | "gone";
      readonly client: string;
      readonly work: Work;
      readonly code: string;
      /** The code and what was said beside it, in words. */
      readonly reason?: string;
      /** Asking this client again would end in the same way: the round is made without it. */
      readonly barred?: boolean;
    }
  /** A client of a secure round has trained, or answered a phase; a masked update is `admitted`. */
  | {
      readonly type: "answered";
      readonly client: string;
      readonly work: Work;
      readonly phase: "train" | SecurePhase;
    }
  /** The masks are off the sum of this work. */
  | { readonly type: "unmasked"; readonly work: Work }
  /** They cannot come off by what all have said, or would leave something else than the sum. */
  | { readonly type: "sealed"; readonly work: Work; readonly reason: string }
  /** The lease of this client's work has run out. */
  | { readonly type: "expired"; readonly client: string; readonly work: Work }
  /** A client that was lost because it was away (`left`) is connected again. */
  | { readonly type: "back"; readonly client: string }
  /** A client reports that it works on this outstanding assignment, or has finished it. */
  | { readonly type: "pending"; readonly client: string; readonly work: Work }
  /** The round stands in the journal. */
  | { readonly type: "committed" }
  /** The storage cannot take it now (a full disk) and is tried again. */
  | { readonly type: "paused"; readonly reason: string }
  /**
   * The run cannot continue: the storage failed, or too few clients can train and no other will
   * come.
   */
  | { readonly type: "broken"; readonly reason: string }
  | { readonly type: "deadline"; readonly number: number }
  /** Finish the attempt in progress, open no other. */
  | { readonly type: "drain" }
  /** Finish the attempt in progress, then wait for a `release`. */
  | { readonly type: "hold" }
  | { readonly type: "release" }
  /** End now; the attempt in progress stays open in the journal. */
  | { readonly type: "stop"; readonly reason: string };

export type RoundEffect =
  /**
   * Send `{ type: "deadline", number }` after so many milliseconds; it takes the place of the
   * deadline before.
   */
  | {
      readonly type: "deadline";
      readonly number: number;
      readonly after: number;
    }
  /** Write the attempt to the journal, answer `begun`. Nothing is sent to a client before that. */
  | { readonly type: "begin"; readonly open: Attempt }
  /** Give the client this work, or continue it where the client has it already. */
  | {
      readonly type: "assign";
      readonly client: string;
      readonly work: Work;
      /** Milliseconds after which to send `expired`; without it the work is due at the deadline. */
      readonly lease?: number;
    }
  /** A phase of a secure round begins, for these clients, sorted: those who answered the last one. */
  | {
      readonly type: "enter";
      readonly phase: SecurePhase;
      readonly open: Attempt;
      readonly clients: readonly string[];
    }
  /** Ask a client of the phase once more: it was away. */
  | { readonly type: "ask"; readonly client: string; readonly work: Work }
  /**
   * Count no further update, where at least so many are counted, and bring together what is:
   * answer `gathered`, else `short`.
   */
  | { readonly type: "seal"; readonly open: Attempt; readonly least: number }
  /** Tell the client that its update is not counted any more. */
  | {
      readonly type: "late";
      readonly client: string;
      readonly work: Work;
      readonly code: "late" | "stale";
    }
  /** The updates are there: move the model, make it durable, answer `committed`. */
  | {
      readonly type: "close";
      readonly open: Attempt;
      readonly members: Members;
    }
  /** Drop the fold and tell all members; model, state and round number stay as they were. */
  | {
      readonly type: "abandon";
      readonly open: Attempt;
      readonly members: Members;
      readonly reason: string;
    }
  /** The phase cannot be gone through: the rounds begin without what it would have given. */
  | { readonly type: "without"; readonly phase: Phase }
  | { readonly type: "finished"; readonly round: number }
  | {
      readonly type: "stopped";
      readonly reason: string;
      /** Nobody asked for it. */
      readonly failed: boolean;
    };

export interface RoundProgress {
  readonly round: number;
  readonly attempt: number;
  readonly counted: number;
  readonly goal: number;
}

/** An engine with the state that it is in. */
export interface Rounds extends Pick<RoundEngine<EngineState>, "maxStaleness"> {
  /** Undefined before `start`. */
  readonly at: string | undefined;
  readonly phase: Phase | undefined;
  readonly draining: boolean;
  readonly held: boolean;
  /**
   * The round and attempt that are open, or the round that is next; its updates so far, and those
   * wanted where it is open.
   */
  progress(): RoundProgress;
  start(committed: number, reopened?: Attempt): readonly RoundEffect[];
  step(event: RoundEvent): readonly RoundEffect[];
  waitsFor(): string;
  retryAfter(client: string): number;
  outstanding(): readonly Work[];
}

/** Holds the state of an engine, so that its user need not know what its states are. */
export function roundsOf<S extends EngineState>(engine: RoundEngine<S>): Rounds {
  let state: S | undefined;
  /** The latest sentence, and the state that it is about. */
  let latest: { readonly of: S; readonly sentence: string } | undefined;
  const started = (): S => {
    if (state === undefined) throw new Error("the rounds have not begun");
    return state;
  };
  const take = (step: Step<S>): readonly RoundEffect[] => {
    state = step.state;
    return step.effects;
  };
  return {
    maxStaleness: engine.maxStaleness,
    get at() {
      return state?.at;
    },
    get phase() {
      return state?.phase;
    },
    get draining() {
      return state?.draining ?? false;
    },
    get held() {
      return state?.held ?? false;
    },
    progress() {
      const { open, members, round } = started();
      return {
        round: open?.round ?? round ?? 0,
        attempt: open?.attempt ?? 1,
        counted: open && members ? members.count("counted") : 0,
        goal: open?.goal ?? 0,
      };
    },
    start: (committed, reopened) => take(engine.start(committed, reopened)),
    step: (event) => take(engine.step(started(), event)),
    waitsFor() {
      const of = started();
      // A thousand clients ask at once.
      if (latest?.of !== of) {
        const sentence = engine.waitsFor(of);
        latest = {
          of,
          sentence: of.held && of.open ? `${sentence} Then the run pauses.` : sentence,
        };
      }
      return latest.sentence;
    },
    retryAfter: (client) => engine.retryAfter(started(), client),
    outstanding: () => engine.outstanding(started()),
  };
}
