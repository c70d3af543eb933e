import type {
  Attempt,
  Common,
  EngineState,
  RoundEffect,
  RoundEngine,
  RoundEvent,
  Step as EngineStep,
} from "./engine.js";
import { Members, sameWork, type Member, type Phase, type Work } from "./participants.js";
import { select, type Selection } from "./selection.js";
import {
  and,
  arm,
  armUnlessOpened,
  barredIn,
  blaming,
  committedOf,
  committing,
  commonOf,
  endedMember,
  finish,
  late,
  NOTHING_YET,
  opening,
  retryWithin,
  sealing,
  stepAlike,
  stop,
  storageIsSilent,
  then,
  UPLOAD_AGAIN,
  waitsForAlike,
  type Committing,
  type Ended,
  type ModeRules,
  type Opening,
  type Sealing,
} from "./transitions.js";

/**
 * Synchronous rounds as a pure state machine: `step(rules, state, event)` gives the next state and
 * the effects to carry out.
 *
 *     gathering -> opening -> collecting -> sealing -> committing -> gathering ... -> finished
 *                                  |           |
 *                                  +-----------+-> quorum not reached: abandoned, gathering again
 *                                                  with attempt + 1
 *
 * Every state but the two last ones (`finished`, `stopped`) has exactly one deadline armed, so
 * nothing waits for ever.
 */
export interface RoundRules extends ModeRules {
  /** What clients are asked for; absent where it is training. */
  readonly phase?: Phase;
  /** From asking to closing. */
  readonly deadline: number;
  readonly selection: Selection;
  /** Rest after an abandoned attempt. */
  readonly pause: number;
}

export type RoundState = Running | Ended;
type Running = Gathering | Opening | Collecting | SealingRound | Committing;

interface Gathering extends EngineState {
  readonly at: "gathering";
  readonly round: number;
  readonly attempt: number;
  /** Eligible clients without which no round opens. */
  readonly need: number;
  /** Resting after an abandoned attempt: opens at the deadline, not before. */
  readonly resting: boolean;
}

interface Collecting extends EngineState {
  readonly at: "collecting";
  readonly open: Attempt;
  readonly members: Members;
  readonly goal: number;
  readonly quorum: number;
}

type SealingRound = Sealing & Pick<Collecting, "goal" | "quorum">;

type Step = EngineStep<RoundState>;

/** Rounds that wait for those who were asked. */
export const synchronous = (rules: RoundRules): RoundEngine<RoundState> => ({
  maxStaleness: 0,
  start: (committed, reopened, after) => start(rules, committed, reopened, after),
  step: (state, event) => step(rules, state, event),
  waitsFor: (state) => waitsFor(rules, state),
  retryAfter: (state, client) => retryAfter(rules, state, client),
  // An attempt is reopened with its members, who are asked again.
  outstanding: () => [],
});

/**
 * Starts or resumes a run, from the last committed round and the attempt that a restart found open.
 * @param attempt of the first round, where earlier ones were called off
 */
export function start(
  rules: RoundRules,
  committed: number,
  reopened?: Attempt,
  after?: Common,
  attempt = 1,
): Step {
  const from = after ?? NOTHING_YET;
  if (committed >= rules.rounds) return finish(from, committed);
  if (reopened !== undefined) return ask(rules, { ...from, at: "opening", open: reopened });
  // They were awaited before.
  const gathered = after === undefined ? rules.gather : 1;
  const need = Math.max(gathered, rules.selection.minimum, 1);
  return gather(rules, from, committed + 1, attempt, need, false);
}

/** One step of the machine. An event that does not concern the state leaves it as it is. */
export function step(rules: RoundRules, state: RoundState, event: RoundEvent): Step {
  if (state.at === "finished" || state.at === "stopped") return { state, effects: [] };
  switch (event.type) {
    case "roster":
      return tryToOpen(rules, { ...state, roster: event.roster });
    case "begun":
      return state.at === "opening" ? ask(rules, state) : { state, effects: [] };
    case "admitted":
    case "refused":
    case "gone":
      return settle(rules, state, event);
    case "expired":
    case "pending":
    // Of secure rounds.
    case "answered":
    case "unmasked":
    case "sealed":
      return { state, effects: [] };
    case "back":
      return state.at === "collecting" && state.members.get(event.client)?.code === "left"
        ? {
            state: withMember(state, event.client, { status: "asked" }),
            effects: [{ type: "assign", client: event.client, work: workOf(state.open) }],
          }
        : { state, effects: [] };
    case "returned":
      return returned(rules, state, event);
    case "gathered":
      return state.at === "sealing" ? close(rules, state) : { state, effects: [] };
    case "short":
      return state.at === "sealing" ? tooFew(rules, state) : { state, effects: [] };
    case "committed":
      return state.at === "committing" ? next(rules, state) : { state, effects: [] };
    case "paused":
    case "broken":
    case "hold":
    case "stop":
      return stepAlike(rules, state, event);
    case "deadline":
      return event.number === state.deadline ? expire(rules, state) : { state, effects: [] };
    case "drain":
      return state.at === "gathering"
        ? stop(state, committedOf(state), "drained")
        : { state: { ...state, draining: true }, effects: [] };
    case "release":
      return release(rules, state);
  }
}

function gather(
  rules: RoundRules,
  from: Parameters<typeof commonOf>[0],
  round: number,
  attempt: number,
  need: number,
  resting: boolean,
): Step {
  const state: Gathering = {
    ...commonOf(from),
    at: "gathering",
    round,
    attempt,
    need,
    resting,
  };
  return armUnlessOpened(state, resting ? rules.pause : rules.gatherDeadline, (armed) =>
    tryToOpen(rules, armed),
  );
}

function tryToOpen(rules: RoundRules, state: Running): Step {
  if (
    state.at !== "gathering" ||
    state.resting ||
    state.held ||
    // Clients that have come and cannot train are not waited for.
    state.roster.ids.length + (state.roster.barred ?? 0) < state.need
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
    ...(rules.phase && { phase: rules.phase }),
  };
  return opening(rules, state, open, {});
}

/** Waits for clients for a whole deadline again after a hold; a rest has its own end. */
function release(rules: RoundRules, state: Running): Step {
  const released = { ...state, held: false };
  return state.held && released.at === "gathering" && !released.resting
    ? gather(rules, released, released.round, released.attempt, released.need, false)
    : { state: released, effects: [] };
}

export const workOf = ({ round, attempt, phase }: Attempt): Work => ({
  round,
  attempt,
  ...(phase && { phase }),
});

/** The updates that a round closes with at once, and those without which it is abandoned. */
export function wantedOf(
  { quorum, least = 1 }: Pick<RoundRules, "quorum" | "least">,
  { goal, selected }: Pick<Attempt, "goal" | "selected">,
): { readonly wanted: number; readonly quorum: number } {
  const wanted = Math.min(goal, selected.length);
  const share = Math.min(wanted, Math.max(1, Math.ceil(quorum * wanted)));
  return { wanted, quorum: Math.max(least, share) };
}

/** Asks all clients that are selected. */
function ask(rules: RoundRules, from: Opening): Step {
  const { open } = from;
  const work = workOf(open);
  const { selected } = open;
  const { wanted, quorum } = wantedOf(rules, open);
  const state: Collecting = {
    ...commonOf(from),
    at: "collecting",
    open,
    members: Members.of(selected.map((id) => [id, { status: "asked", work }])),
    goal: Math.max(wanted, quorum),
    quorum,
  };
  return and(
    arm(state, rules.deadline),
    selected.map((client) => ({ type: "assign", client, work })),
  );
}

const withMember = <S extends Collecting | SealingRound>(
  state: S,
  client: string,
  member: Omit<Member, "work">,
): S => ({
  ...state,
  members: state.members.with(client, { ...member, work: workOf(state.open) }),
});

/** A client's work has come to an end. */
function settle(
  rules: RoundRules,
  state: Running,
  event: Extract<RoundEvent, { type: "admitted" | "refused" | "gone" }>,
): Step {
  const { client, work } = event;
  const same: Step = { state, effects: [] };
  if (state.at !== "collecting" && state.at !== "sealing") return same;
  const status = sameWork(workOf(state.open), work) && state.members.get(client)?.status;
  // A client that was lost and comes back with its update in time is counted all the same.
  if (status !== "asked" && status !== "lost") return same;
  const ended = event.type === "admitted" ? { status: "counted" as const } : endedMember(event);
  if (state.at === "sealing") return { state: withMember(state, client, ended), effects: [] };
  const settled = withMember(state, client, ended);
  const barred = event.type !== "admitted" && event.barred === true;
  return check(rules, barred ? withoutBarred(rules, settled) : settled);
}

/** From a seal back to collecting. */
function returned(
  rules: RoundRules,
  state: Running,
  { client, work }: Extract<RoundEvent, { type: "returned" }>,
): Step {
  const same: Step = { state, effects: [] };
  if (state.at !== "collecting" && state.at !== "sealing") return same;
  if (!sameWork(workOf(state.open), work)) return same;
  if (state.members.get(client)?.status !== "counted") return same;
  const asked = withMember(state, client, { status: "asked" });
  if (asked.at === "collecting") return { state: asked, effects: [] };
  const { open, members, goal, quorum } = asked;
  return arm(
    { ...commonOf(asked), at: "collecting", open, members, goal, quorum },
    Math.min(rules.deadline, UPLOAD_AGAIN),
  );
}

/**
 * Leaves clients that cannot take part, now and later, out of the goal and the quorum. The
 * selection's minimum stays.
 */
function withoutBarred(
  { quorum: share, selection, least = 1 }: RoundRules,
  state: Collecting,
): Collecting {
  const able = [...state.members].filter(([, { barred }]) => !barred).length;
  const goal = Math.min(state.goal, able);
  const quorum = Math.max(
    least,
    Math.min(state.quorum, selection.minimum),
    Math.ceil(share * goal),
  );
  return { ...state, goal: Math.max(goal, quorum), quorum };
}

/**
 * Seals the round when it has what it wants, or abandons the attempt when it can no longer have
 * what it needs.
 */
function check(rules: RoundRules, state: Collecting): Step {
  const counted = state.members.count("counted");
  const asked = state.members.count("asked");
  if (counted >= state.goal) return seal(rules, state);
  if (counted + asked < state.quorum)
    return abandon(
      rules,
      state,
      `${presence(rules, state)}, and ${asked === 0 ? "no" : `only ${asked}`} more could come${blaming(state.members)}`,
    );
  return asked === 0 ? seal(rules, state) : { state, effects: [] };
}

const seal = (rules: RoundRules, state: Collecting): Step => {
  const { goal, quorum } = state;
  return sealing(rules, state, quorum, { goal, quorum });
};

/** Marks clients that were still asked as late, and tells them. */
export function dismiss(state: Pick<Collecting, "open" | "members">): {
  members: Members;
  effects: RoundEffect[];
} {
  let { members } = state;
  const work = workOf(state.open);
  const effects: RoundEffect[] = [];
  for (const [client, { status }] of state.members)
    if (status === "asked") {
      members = members.with(client, { status: "late", work });
      effects.push(late({ client, work }));
    }
  return { members, effects };
}

/** Those still asked were a reserve until now. */
function close(rules: RoundRules, state: SealingRound): Step {
  const { members, effects } = dismiss(state);
  return then(effects, committing(rules, state, state.open, members));
}

const tooFew = (rules: RoundRules, state: SealingRound): Step =>
  abandon(
    rules,
    state,
    `${presence(rules, state)} at the deadline${blaming(dismiss(state).members)}`,
  );

/** Calls the attempt off; the next one begins after a rest. */
export function abandon(
  rules: RoundRules,
  state: Common & Pick<Collecting, "open" | "members">,
  reason: string,
): Step {
  const { members } = dismiss(state);
  const { open } = state;
  const effects: RoundEffect[] = [{ type: "abandon", open, members, reason }];
  if (state.draining) return then(effects, stop(state, open.round - 1, "drained"));
  return then(
    effects,
    gather(rules, state, open.round, open.attempt + 1, Math.max(1, rules.selection.minimum), true),
  );
}

function next(rules: RoundRules, state: Committing): Step {
  const { round } = state.open;
  if (round >= rules.rounds) return finish(state, round);
  if (state.draining) return stop(state, round, "drained");
  return gather(rules, state, round + 1, 1, Math.max(1, rules.selection.minimum), false);
}

/** The deadline of the state has passed. */
function expire(rules: RoundRules, state: Running): Step {
  switch (state.at) {
    case "gathering":
      return gather(
        rules,
        state,
        state.round,
        state.attempt,
        // Nobody is awaited during a hold: after it as many as before.
        state.held ? state.need : Math.max(1, rules.selection.minimum),
        false,
      );
    case "opening":
    case "sealing":
    case "committing":
      return storageIsSilent(rules, state);
    case "collecting":
      return seal(rules, state);
  }
}

/** How many came of those without whom there is no round, and by what share that is. */
const presence = (
  rules: RoundRules,
  { members, goal, quorum }: Pick<Collecting, "members" | "goal" | "quorum">,
): string =>
  `${members.count("counted")} of ${quorum} ${answersTo(rules)} needed${rules.quorum < 1 ? ` (quorum ${rules.quorum} of ${goal})` : ""} were there`;

/** What clients are asked for, in words. */
const answersTo = ({ phase }: RoundRules): string => (phase === undefined ? "updates" : "answers");

/** What the run waits for, in a sentence. */
export function waitsFor(rules: RoundRules, state: RoundState): string {
  const { phase } = rules;
  switch (state.at) {
    case "gathering": {
      const name = `Round ${state.round}${phase === undefined ? "" : ` (${phase})`}`;
      if (state.held)
        return `${name} is paused until somebody lets it begin: ${state.roster.ids.length} clients are ready.`;
      return state.resting
        ? `${name} rests for ${rules.pause} ms before attempt ${state.attempt}.`
        : `${name} waits for clients: ${state.roster.ids.length} of ${state.need} are ready${barredIn(state.roster, phase)}.`;
    }
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
      return `Round ${state.open.round}, attempt ${state.open.attempt} (${phase ?? "train"}) has ${state.members.count("counted")} of ${state.goal} ${answersTo(rules)} wanted, ${state.quorum} needed, and waits for ${names}.`;
    }
    default:
      return waitsForAlike(state);
  }
}

/**
 * When a client with nothing to do should ask again, in milliseconds: within the time the state may
 * last, spread by a jitter that the client's id and the round decide, so that clients do not all
 * come at once.
 */
export function retryAfter(rules: RoundRules, state: RoundState, client: string): number {
  const lasts =
    state.at === "collecting"
      ? rules.deadline
      : state.at === "gathering" && !state.resting
        ? rules.gatherDeadline
        : rules.pause;
  return retryWithin(lasts, state, client);
}
