import { random } from "../../runtime/params/random.js";
import { select, type Selection } from "./selection.js";

/**
 * The rounds of a run as a pure state machine: `step(rules, state, event)` gives the next state and what is to be done.
 * No clock and no input or output in here: time comes as `deadline` events that the machine asked for.
 *
 *     gathering -> opening -> collecting (phase by phase) -> committing -> gathering ... -> finished
 *                                  |
 *                                  +-> quorum not reached: abandoned, gathering again with attempt + 1
 *
 * Every state but the two last ones (`finished`, `stopped`) has exactly one deadline armed, so nothing waits for ever.
 */
export interface RoundRules {
  readonly seed: string;
  /** Rounds to commit before the run is finished. */
  readonly rounds: number;
  /** What a round consists of; plain training is one phase. */
  readonly phases: readonly Phase[];
  readonly selection: Selection;
  /** Clients awaited before the first round of this process; after `gatherDeadline` the selection's minimum will do. */
  readonly gather: number;
  /** Milliseconds. */
  readonly gatherDeadline: number;
  /** Milliseconds of rest after an abandoned attempt. */
  readonly pause: number;
  /** Milliseconds that the storage may take for one record. */
  readonly storageDeadline: number;
}

export interface Phase {
  readonly name: string;
  /** Who is asked: everybody selected, or those who were counted in the phase before. */
  readonly asks: "selected" | "counted";
  /** Part of the wanted number of updates without which the attempt is abandoned, in (0, 1]. */
  readonly quorum: number;
  /** Milliseconds from asking to closing. */
  readonly deadline: number;
}

/** The clients that could be drawn now, and the figures of the registered ones that a round freezes when it opens. */
export interface Roster {
  /** Sorted. */
  readonly ids: readonly string[];
  /** m, all registered clients, eligible now or not. */
  readonly population: number;
  /** mean(n) over the registered clients. */
  readonly meanSamples: number;
}

/** Names one phase of one attempt: every event about a client's work says which work it is about. */
export interface Work {
  readonly round: number;
  readonly attempt: number;
  readonly phase: number;
}

export interface Member {
  /** `asked` is the only one that is not an end. */
  readonly status: "asked" | "counted" | "late" | "lost" | "refused";
  /** Why it was lost or refused. */
  readonly code?: string;
}

export type Members = ReadonlyMap<string, Member>;

/** The attempt in progress, with what was frozen when it opened. */
export interface Attempt {
  readonly round: number;
  readonly attempt: number;
  readonly selected: readonly string[];
  /** Updates wanted: the phase closes as soon as so many are counted. */
  readonly goal: number;
  readonly population: number;
  readonly meanSamples: number;
}

interface Common {
  /** Counts the deadlines armed so far; a `deadline` event with another number is stale. */
  readonly deadline: number;
  readonly roster: Roster;
  /** No further round is opened. */
  readonly draining: boolean;
}

export type RoundState = Common &
  (
    | {
        readonly at: "gathering";
        readonly round: number;
        readonly attempt: number;
        /** Eligible clients without which no round opens. */
        readonly need: number;
        /** Resting after an abandoned attempt: opens at the deadline, not before. */
        readonly resting: boolean;
      }
    | {
        readonly at: "opening";
        readonly open: Attempt;
        /** Why the storage lets wait. */
        readonly paused?: string;
      }
    | {
        readonly at: "collecting";
        readonly open: Attempt;
        readonly phase: number;
        readonly members: Members;
        readonly goal: number;
        readonly quorum: number;
      }
    | {
        readonly at: "committing";
        readonly open: Attempt;
        readonly members: Members;
        readonly paused?: string;
      }
    | { readonly at: "finished"; readonly round: number }
    | {
        readonly at: "stopped";
        readonly round: number;
        readonly reason: string;
      }
  );

export type RoundEvent =
  | { readonly type: "roster"; readonly roster: Roster }
  /** The attempt stands in the journal. */
  | { readonly type: "begun" }
  /** A client's update is whole and has passed every check. */
  | { readonly type: "admitted"; readonly client: string; readonly work: Work }
  /** A client's update was refused for good. */
  | {
      readonly type: "refused";
      readonly client: string;
      readonly work: Work;
      readonly code: string;
    }
  /** A client left for longer than it may, declined, or failed. */
  | {
      readonly type: "gone";
      readonly client: string;
      readonly work: Work;
      readonly code: string;
    }
  /** A client that was lost because it was away (`left`) is here again. */
  | { readonly type: "back"; readonly client: string }
  /** The round stands in the journal. */
  | { readonly type: "committed" }
  /** The storage cannot take it now (a full disk) and is tried again. */
  | { readonly type: "paused"; readonly reason: string }
  /** The storage failed, and nothing may go on. */
  | { readonly type: "broken"; readonly reason: string }
  | { readonly type: "deadline"; readonly number: number }
  /** Finish the attempt in progress, open no other. */
  | { readonly type: "drain" }
  /** End now; the attempt in progress stays open in the journal. */
  | { readonly type: "stop"; readonly reason: string };

export type RoundEffect =
  /** Send `{ type: "deadline", number }` after so many milliseconds; it takes the place of the deadline before. */
  | {
      readonly type: "deadline";
      readonly number: number;
      readonly after: number;
    }
  /** Write the attempt to the journal, answer `begun`. Nothing is sent to a client before that. */
  | { readonly type: "begin"; readonly open: Attempt }
  | { readonly type: "assign"; readonly client: string; readonly work: Work }
  /** Add the admitted update to the fold: this client is counted. */
  | { readonly type: "fold"; readonly client: string; readonly work: Work }
  /** Tell the client that its update is not counted any more. */
  | { readonly type: "late"; readonly client: string; readonly work: Work }
  /** A phase that is not the last has its updates. */
  | { readonly type: "phase"; readonly work: Work; readonly members: Members }
  /** All phases have their updates: move the model, make it durable, answer `committed`. */
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
  | { readonly type: "finished"; readonly round: number }
  | {
      readonly type: "stopped";
      readonly reason: string;
      /** Nobody asked for it. */
      readonly failed: boolean;
    };

export interface Step {
  readonly state: RoundState;
  readonly effects: readonly RoundEffect[];
}

/** Where a run starts or goes on: the last committed round, and the attempt that a restart found open. */
export function start(
  rules: RoundRules,
  committed: number,
  reopened?: Attempt,
): Step {
  const common: Common = {
    deadline: 0,
    roster: { ids: [], population: 0, meanSamples: 0 },
    draining: false,
  };
  if (committed >= rules.rounds)
    return {
      state: { ...common, at: "finished", round: committed },
      effects: [{ type: "finished", round: committed }],
    };
  if (reopened !== undefined)
    return ask(rules, { ...common, at: "opening", open: reopened }, 0);
  const need = Math.max(rules.gather, rules.selection.minimum, 1);
  return gather(rules, common, committed + 1, 1, need, false);
}

/** One step of the machine. An event that does not concern the state leaves it as it is. */
export function step(
  rules: RoundRules,
  state: RoundState,
  event: RoundEvent,
): Step {
  if (state.at === "finished" || state.at === "stopped")
    return event.type === "admitted"
      ? late(state, event)
      : { state, effects: [] };
  switch (event.type) {
    case "roster":
      return tryToOpen(rules, { ...state, roster: event.roster });
    case "begun":
      return state.at === "opening"
        ? ask(rules, state, 0)
        : { state, effects: [] };
    case "admitted":
    case "refused":
    case "gone":
      return settle(rules, state, event);
    case "back":
      return state.at === "collecting" &&
        state.members.get(event.client)?.code === "left"
        ? {
            state: withMember(state, event.client, { status: "asked" }),
            effects: [
              { type: "assign", client: event.client, work: workOf(state) },
            ],
          }
        : { state, effects: [] };
    case "committed":
      return state.at === "committing"
        ? next(rules, state)
        : { state, effects: [] };
    case "paused":
      return state.at === "opening" || state.at === "committing"
        ? arm({ ...state, paused: event.reason }, rules.storageDeadline)
        : { state, effects: [] };
    case "broken":
      return stop(state, committedOf(state), event.reason, true);
    case "deadline":
      return event.number === state.deadline
        ? expire(rules, state)
        : { state, effects: [] };
    case "drain":
      return state.at === "gathering"
        ? stop(state, committedOf(state), "drained")
        : { state: { ...state, draining: true }, effects: [] };
    case "stop":
      // What the storage is writing down will be written down: that end is near and has its own deadline.
      return state.at === "committing"
        ? { state: { ...state, draining: true }, effects: [] }
        : stop(state, committedOf(state), event.reason);
  }
}

type Gathering = Extract<RoundState, { at: "gathering" }>;
type Collecting = Extract<RoundState, { at: "collecting" }>;
type Opening = Extract<RoundState, { at: "opening" }>;
type Committing = Extract<RoundState, { at: "committing" }>;
type Running = Gathering | Opening | Collecting | Committing;

const common = ({ deadline, roster, draining }: Common): Common => ({
  deadline,
  roster,
  draining,
});

/** Takes the place of the deadline before. */
function arm<S extends RoundState>(state: S, after: number): Step {
  const number = state.deadline + 1;
  return {
    state: { ...state, deadline: number },
    effects: [{ type: "deadline", number, after }],
  };
}

const then = (
  first: readonly RoundEffect[],
  { state, effects }: Step,
): Step => ({ state, effects: [...first, ...effects] });

const and = ({ state, effects }: Step, more: readonly RoundEffect[]): Step => ({
  state,
  effects: [...effects, ...more],
});

function gather(
  rules: RoundRules,
  from: Common,
  round: number,
  attempt: number,
  need: number,
  resting: boolean,
): Step {
  const state: Gathering = {
    ...common(from),
    at: "gathering",
    round,
    attempt,
    need,
    resting,
  };
  const armed = arm(state, resting ? rules.pause : rules.gatherDeadline);
  const opened = tryToOpen(rules, armed.state as Gathering);
  // Opened at once: its own deadline takes the place of the one just armed.
  return opened.state.at === "gathering" ? armed : opened;
}

function tryToOpen(rules: RoundRules, state: Running): Step {
  if (
    state.at !== "gathering" ||
    state.resting ||
    state.roster.ids.length < state.need
  )
    return { state, effects: [] };
  const { round, attempt, roster } = state;
  const drawn = select(roster.ids, rules.selection, rules.seed, round, attempt);
  if (drawn === undefined) return { state, effects: [] };
  const open: Attempt = {
    round,
    attempt,
    ...drawn,
    population: roster.population,
    meanSamples: roster.meanSamples,
  };
  return and(
    arm({ ...common(state), at: "opening", open }, rules.storageDeadline),
    [{ type: "begin", open }],
  );
}

const workOf = ({ open, phase }: Collecting): Work => ({
  round: open.round,
  attempt: open.attempt,
  phase,
});

/** Opens a phase: asks whom it asks. */
function ask(
  rules: RoundRules,
  from: Opening | Collecting,
  phase: number,
): Step {
  const { asks, quorum, deadline } = rules.phases[phase];
  const { open } = from;
  const before: Members =
    from.at === "collecting"
      ? from.members
      : new Map(open.selected.map((id) => [id, { status: "counted" }]));
  const asked = [...before].filter(
    ([, { status }]) => asks === "selected" || status === "counted",
  );
  const members = new Map(before);
  for (const [id] of asked) members.set(id, { status: "asked" });
  const goal = Math.min(open.goal, asked.length);
  const state: Collecting = {
    ...common(from),
    at: "collecting",
    open,
    phase,
    members,
    goal,
    quorum: Math.min(goal, Math.max(1, Math.ceil(quorum * goal))),
  };
  return and(
    arm(state, deadline),
    asked.map(([client]) => ({ type: "assign", client, work: workOf(state) })),
  );
}

const withMember = (
  state: Collecting,
  client: string,
  member: Member,
): Collecting => ({
  ...state,
  members: new Map(state.members).set(client, member),
});

const late = (
  state: RoundState,
  { client, work }: { client: string; work: Work },
): Step => ({ state, effects: [{ type: "late", client, work }] });

/** A client's work has come to an end. */
function settle(
  rules: RoundRules,
  state: Running,
  event: Extract<RoundEvent, { type: "admitted" | "refused" | "gone" }>,
): Step {
  const { client, work } = event;
  const concerns =
    state.at === "collecting" &&
    state.open.round === work.round &&
    state.open.attempt === work.attempt &&
    state.phase === work.phase;
  const status = concerns ? state.members.get(client)?.status : undefined;
  // A client that was lost and comes back with its update in time is counted all the same.
  if (!concerns || (status !== "asked" && status !== "lost")) {
    if (event.type === "admitted" && status !== "counted")
      return late(state, event);
    return { state, effects: [] };
  }
  if (event.type === "admitted")
    return then(
      [{ type: "fold", client, work }],
      check(rules, withMember(state, client, { status: "counted" })),
    );
  return check(
    rules,
    withMember(state, client, {
      status: event.type === "refused" ? "refused" : "lost",
      code: event.code,
    }),
  );
}

const countOf = (members: Members, status: Member["status"]): number => {
  let count = 0;
  for (const member of members.values()) if (member.status === status) count++;
  return count;
};

/** Closes the phase when it has what it wants, or abandons the attempt when it can no longer have what it needs. */
function check(rules: RoundRules, state: Collecting): Step {
  const counted = countOf(state.members, "counted");
  const asked = countOf(state.members, "asked");
  if (counted >= state.goal) return closePhase(rules, state);
  if (counted + asked < state.quorum)
    return abandon(
      rules,
      state,
      `${counted} of ${state.quorum} updates needed, and nobody left to send more`,
    );
  return asked === 0 ? closePhase(rules, state) : { state, effects: [] };
}

/** Those who were still asked are late, and are told. */
function dismiss(state: Collecting): {
  members: Members;
  told: RoundEffect[];
} {
  const members = new Map(state.members);
  const told: RoundEffect[] = [];
  for (const [client, { status }] of state.members)
    if (status === "asked") {
      members.set(client, { status: "late" });
      told.push({ type: "late", client, work: workOf(state) });
    }
  return { members, told };
}

function closePhase(rules: RoundRules, state: Collecting): Step {
  const { members, told } = dismiss(state);
  if (state.phase + 1 < rules.phases.length)
    return then(
      [...told, { type: "phase", work: workOf(state), members }],
      ask(rules, { ...state, members }, state.phase + 1),
    );
  const closing: Committing = {
    ...common(state),
    at: "committing",
    open: state.open,
    members,
  };
  return and(then(told, arm(closing, rules.storageDeadline)), [
    { type: "close", open: state.open, members },
  ]);
}

function abandon(rules: RoundRules, state: Collecting, reason: string): Step {
  const { members } = dismiss(state);
  const { open } = state;
  const effects: RoundEffect[] = [{ type: "abandon", open, members, reason }];
  if (state.draining)
    return then(effects, stop(state, open.round - 1, "drained"));
  return then(
    effects,
    gather(
      rules,
      state,
      open.round,
      open.attempt + 1,
      Math.max(1, rules.selection.minimum),
      true,
    ),
  );
}

function next(rules: RoundRules, state: Committing): Step {
  const { round } = state.open;
  if (round >= rules.rounds)
    return {
      state: { ...common(state), at: "finished", round },
      effects: [{ type: "finished", round }],
    };
  if (state.draining) return stop(state, round, "drained");
  return gather(
    rules,
    state,
    round + 1,
    1,
    Math.max(1, rules.selection.minimum),
    false,
  );
}

/** Ends here. An attempt in progress stays open in the journal, and a restart goes on with it. */
function stop(
  from: Common,
  round: number,
  reason: string,
  failed = false,
): Step {
  return {
    state: { ...common(from), at: "stopped", round, reason },
    effects: [{ type: "stopped", reason, failed }],
  };
}

/** The last committed round, as far as the machine knows. */
const committedOf = (state: Running): number =>
  (state.at === "gathering" ? state.round : state.open.round) - 1;

/** The deadline of the state has passed. */
function expire(rules: RoundRules, state: Running): Step {
  switch (state.at) {
    case "gathering":
      return gather(
        rules,
        state,
        state.round,
        state.attempt,
        Math.max(1, rules.selection.minimum),
        false,
      );
    case "opening":
    case "committing":
      return stop(
        state,
        committedOf(state),
        `the storage did not answer within ${rules.storageDeadline} ms`,
        true,
      );
    case "collecting": {
      const counted = countOf(state.members, "counted");
      return counted >= state.quorum
        ? closePhase(rules, state)
        : abandon(
            rules,
            state,
            `${counted} of ${state.quorum} updates needed were there at the deadline`,
          );
    }
  }
}

/** What the run waits for, in a sentence. */
export function waitsFor(rules: RoundRules, state: RoundState): string {
  switch (state.at) {
    case "gathering":
      return state.resting
        ? `Round ${state.round} rests for ${rules.pause} ms before attempt ${state.attempt}.`
        : `Round ${state.round} waits for clients: ${state.roster.ids.length} of ${state.need} are ready.`;
    case "opening":
      return `Round ${state.open.round} waits for the storage to write down attempt ${state.open.attempt}${state.paused ? `: ${state.paused}` : ""}.`;
    case "collecting": {
      const missing = [...state.members]
        .filter(([, { status }]) => status === "asked")
        .map(([id]) => id.slice(0, 8));
      const names =
        missing.length <= 5
          ? missing.join(", ")
          : `${missing.slice(0, 5).join(", ")} and ${missing.length - 5} more`;
      return `Round ${state.open.round}, attempt ${state.open.attempt} (${rules.phases[state.phase].name}) has ${countOf(state.members, "counted")} of ${state.goal} updates wanted, ${state.quorum} needed, and waits for ${names}.`;
    }
    case "committing":
      return `Round ${state.open.round} waits for the storage to take the new model${state.paused ? `: ${state.paused}` : ""}.`;
    case "finished":
      return `Nothing: all ${state.round} rounds are done.`;
    case "stopped":
      return `Nothing: stopped after round ${state.round} (${state.reason}).`;
  }
}

/**
 * When a client with nothing to do should ask again, in milliseconds: within the time the state may last,
 * spread by a jitter that the client's id and the round decide, so that clients do not all come at once.
 */
export function retryAfter(
  rules: RoundRules,
  state: RoundState,
  client: string,
): number {
  const lasts =
    state.at === "collecting"
      ? rules.phases[state.phase].deadline
      : state.at === "gathering" && !state.resting
        ? rules.gatherDeadline
        : rules.pause;
  const jitter = random("retry", client, state.deadline).next();
  return Math.round(lasts * (0.5 + 0.5 * jitter));
}
