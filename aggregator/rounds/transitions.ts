import { random } from "../../runtime/tensors/random.js";
import type {
  Attempt,
  Common,
  EngineState,
  RoundEffect,
  RoundEvent,
  Roster,
  Step,
} from "./engine.js";
import type { Member, Members, Phase, Work } from "./participants.js";

// What engines are written with, and what every mode does alike.

/** What every mode is told. Durations are milliseconds. */
export interface ModeRules extends StorageRules {
  readonly seed: string;
  /** Rounds to commit before the run is finished. */
  readonly rounds: number;
  /** Part of the updates wanted that will do, in (0, 1]. */
  readonly quorum: number;
  /** The fewest updates that can be combined, whatever the quorum. */
  readonly least?: number;
  /** Clients awaited before the first round of this process, until `gatherDeadline`. */
  readonly gather: number;
  readonly gatherDeadline: number;
}

export const commonOf = ({ deadline, roster, draining, held }: Common): Common => ({
  deadline,
  roster,
  draining,
  held,
});

/** Before anything is known. */
export const NOTHING_YET: Common = {
  deadline: 0,
  roster: { ids: [], connected: [], population: 0, meanSamples: 0 },
  draining: false,
  held: false,
};

/** Takes the place of the deadline before. */
export function arm<S extends EngineState>(state: S, after: number): Step<S> {
  const number = state.deadline + 1;
  return {
    state: { ...state, deadline: number },
    effects: [{ type: "deadline", number, after }],
  };
}

/** Arms a deadline for a state that waits for clients, unless the next state opens at once. */
export function armUnlessOpened<S extends EngineState, Next extends EngineState>(
  state: S,
  after: number,
  tryToOpen: (state: S) => Step<S | Next>,
): Step<S | Next> {
  const armed = arm(state, after);
  const opened = tryToOpen(armed.state);
  return opened.state.at === state.at ? armed : opened;
}

export const then = <S>(first: readonly RoundEffect[], { state, effects }: Step<S>): Step<S> => ({
  state,
  effects: [...first, ...effects],
});

export const and = <S>({ state, effects }: Step<S>, more: readonly RoundEffect[]): Step<S> => ({
  state,
  effects: [...effects, ...more],
});

/** How a run ended. */
export type Ended = EngineState &
  (
    | { readonly at: "finished"; readonly round: number }
    | {
        readonly at: "stopped";
        readonly round: number;
        readonly reason: string;
      }
  );

export const finish = (from: Common, round: number): Step<Ended> => ({
  state: { ...commonOf(from), at: "finished", round },
  effects: [{ type: "finished", round }],
});

/** Ends here. An attempt in progress stays open in the journal, and a restart resumes it. */
export const stop = (from: Common, round: number, reason: string, failed = false): Step<Ended> => ({
  state: { ...commonOf(from), at: "stopped", round, reason },
  effects: [{ type: "stopped", reason, failed }],
});

/** The attempt waits to be written down. */
export interface Opening extends EngineState {
  readonly at: "opening";
  readonly open: Attempt;
  /** Why the storage lets wait. */
  readonly paused?: string;
}

/** What is counted is brought together; nothing further is counted, once the store says so. */
export interface Sealing extends EngineState {
  readonly at: "sealing";
  readonly open: Attempt;
  readonly members: Members;
  readonly paused?: string;
}

/**
 * Milliseconds for those whose updates came back after a seal: they have trained, and upload again.
 */
export const UPLOAD_AGAIN = 30_000;

/** The new model waits to be written down. */
export interface Committing extends EngineState {
  readonly at: "committing";
  readonly open: Attempt;
  readonly members: Members;
  readonly paused?: string;
}

interface StorageRules {
  /** Milliseconds that the storage may take for one record. */
  readonly storageDeadline: number;
}

export const opening = <More extends object>(
  { storageDeadline }: StorageRules,
  from: Common,
  open: Attempt,
  more: More,
): Step<Opening & More> =>
  and(arm({ ...commonOf(from), at: "opening", open, ...more }, storageDeadline), [
    { type: "begin", open },
  ]);

/** @param least updates, without which the attempt is not sealed */
export const sealing = <More extends object>(
  { storageDeadline }: StorageRules,
  from: Common & Pick<Sealing, "open" | "members">,
  least: number,
  more: More,
): Step<Sealing & More> => {
  const { open, members } = from;
  const state = { ...commonOf(from), at: "sealing" as const, open, members, ...more };
  return and(arm(state, storageDeadline), [{ type: "seal", open, least }]);
};

export const committing = (
  { storageDeadline }: StorageRules,
  from: Common,
  open: Attempt,
  members: Members,
): Step<Committing> =>
  and(arm({ ...commonOf(from), at: "committing", open, members }, storageDeadline), [
    { type: "close", open, members },
  ]);

/** The storage's deadline has passed. */
export const storageIsSilent = (
  { storageDeadline }: StorageRules,
  state: EngineState,
): Step<Ended> =>
  stop(state, committedOf(state), `the storage did not answer within ${storageDeadline} ms`, true);

/** The last committed round, as far as a state knows that is no end. */
export const committedOf = ({ open, round }: EngineState): number =>
  (open?.round ?? round ?? 1) - 1;

/** What these events do to a state that is no end. */
export function stepAlike<S extends EngineState>(
  { storageDeadline }: StorageRules,
  state: S,
  event: Extract<RoundEvent, { readonly type: "paused" | "broken" | "hold" | "stop" }>,
): Step<S | Ended> {
  switch (event.type) {
    case "paused":
      return state.at === "opening" || state.at === "sealing" || state.at === "committing"
        ? arm({ ...state, paused: event.reason }, storageDeadline)
        : { state, effects: [] };
    case "broken":
      return stop(state, committedOf(state), event.reason, true);
    case "hold":
      return { state: { ...state, held: true }, effects: [] };
    case "stop":
      // What the storage is writing down will be written down: that end is near and has its own
      // deadline.
      return state.at === "sealing" || state.at === "committing"
        ? { state: { ...state, draining: true }, effects: [] }
        : stop(state, committedOf(state), event.reason);
  }
}

/** This client's update is not counted any more. */
export const late = (
  { client, work }: { readonly client: string; readonly work: Work },
  code: "late" | "stale" = "late",
): RoundEffect => ({ type: "late", client, work, code });

/** How a client's work ended, where nothing will come of it. */
export const endedMember = ({
  type,
  work,
  code,
  reason,
  barred,
}: Extract<RoundEvent, { readonly type: "refused" | "gone" }>): Member => ({
  status: type === "refused" ? "refused" : "lost",
  work,
  code,
  reason,
  barred,
});

/** Clients that a sentence names. */
const NAMED = 3;

/** `client 0a1b2c3d (data: ...), client ...`, and how many more. */
export function namesOf(clients: readonly (readonly [id: string, why: string])[]): string {
  const named = clients.slice(0, NAMED).map(([id, why]) => `client ${id.slice(0, 8)} (${why})`);
  const more = clients.length - named.length;
  return named.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** Those from whom nothing came, and why, behind what was said before; nothing where all came. */
export function blaming(members: Members): string {
  const absent = [...members].flatMap(([id, { status, code, reason }]) =>
    status === "lost" || status === "refused" || status === "late"
      ? [[id, reason ?? code ?? "late"] as const]
      : [],
  );
  return absent.length === 0 ? "" : `: ${namesOf(absent)}`;
}

/** How many of the registered clients are not asked, in a half sentence. */
export const barredIn = ({ barred = 0 }: Roster, phase?: Phase): string =>
  barred === 0
    ? ""
    : phase === undefined
      ? `; ${barred} cannot train`
      : `; ${barred} cannot give ${phase} (--normalise none begins without)`;

/** What the run waits for, in a sentence. */
export function waitsForAlike(state: Sealing | Committing | Ended): string {
  switch (state.at) {
    case "sealing":
      return `Round ${state.open.round} waits for the storage to bring its updates together${state.paused ? `: ${state.paused}` : ""}.`;
    case "committing":
      return `Round ${state.open.round} waits for the storage to take the new model${state.paused ? `: ${state.paused}` : ""}.`;
    case "finished":
      return `Nothing: all ${state.round} rounds are done.`;
    case "stopped":
      return `Nothing: stopped after round ${state.round} (${state.reason}).`;
  }
}

/**
 * A retry delay in the second half of the state's duration, decided by the client's id and the
 * state, so that clients do not return together.
 */
export function retryWithin(lasts: number, { deadline }: EngineState, client: string): number {
  const jitter = random("retry", client, deadline).next();
  return Math.round(lasts * (0.5 + 0.5 * jitter));
}
