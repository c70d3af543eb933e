import { thresholdOf } from "../../runtime/secure/graph.js";
import type { Attempt, Common, EngineState, RoundEngine, RoundEvent, Step } from "./engine.js";
import { ringOf, stayingIn, type RingRules } from "./ring.js";
import { SECURE_PHASES, Members, sameWork, type Member, type SecurePhase } from "./participants.js";
import {
  abandon,
  dismiss,
  start,
  step,
  synchronous,
  wantedOf,
  workOf,
  type RoundRules,
  type RoundState,
} from "./synchronous.js";
import {
  and,
  arm,
  blaming,
  commonOf,
  committing,
  endedMember,
  late,
  stepAlike,
  storageIsSilent,
  then,
  UPLOAD_AGAIN,
} from "./transitions.js";

/**
 * Secure rounds as a pure state machine around synchronous ones: where these would close a round,
 * its clients go through the phases by which the aggregator learns the sum of their updates and
 * none of them.
 *
 *     collecting -> securing: keys -> shares -> masked (sealed) -> verify -> unmask -> committing
 *                       |                       (without verify on a ring)
 *                       +-> too few: abandoned, gathering again with attempt + 1
 *
 * Each phase has a deadline, and needs as many as the secrets are shared for. A restart abandons the
 * attempt that it finds open: what clients hid it by is in no journal.
 */
export interface SecureRules extends RoundRules {
  /** Milliseconds that clients have for each phase. */
  readonly phaseDeadline: number;
  /** By what attempts of many clients get rings. */
  readonly ring: RingRules;
  /** The last attempt that was begun before a restart: later ones have higher numbers. */
  readonly latest?: Pick<Attempt, "round" | "attempt">;
}

export type SecureState = RoundState | Securing;

interface Securing extends EngineState {
  readonly at: "securing";
  readonly open: Attempt;
  /** Those counted have trained, and from `verify` on they are those in the sum. */
  readonly members: Members;
  readonly step: SecurePhase;
  /** Whom the phase is for, and who of them has answered. */
  readonly asked: readonly string[];
  readonly answered: ReadonlySet<string>;
  /** Clients from whom no answer will come, and how their work ended. */
  readonly left: ReadonlyMap<string, Member>;
  /** Without so many answers the attempt is abandoned. */
  readonly need: number;
  /** The masked updates that came are brought together. */
  readonly sealing: boolean;
}

type SecureStep = Step<SecureState>;

/** Rounds of which the aggregator learns the sum alone. */
export function secure(rules: SecureRules): RoundEngine<SecureState> {
  const { maxStaleness, waitsFor, retryAfter, outstanding } = synchronous(rules);
  return {
    maxStaleness,
    start: (committed, reopened, after) => begin(rules, committed, reopened, after),
    step: (state, event) =>
      state.at === "securing"
        ? secureStep(rules, state, event)
        : secured(rules, state, step(rules, state, asTraining(event))),
    waitsFor: (state) => (state.at === "securing" ? inWords(state) : waitsFor(state)),
    retryAfter: (state, client) =>
      state.at === "securing" ? rules.phaseDeadline : retryAfter(state, client),
    outstanding: (state) => (state.at === "securing" ? [] : outstanding(state)),
  };
}

function begin(
  rules: SecureRules,
  committed: number,
  reopened: Attempt | undefined,
  after: Common | undefined,
): SecureStep {
  const { latest } = rules;
  const attempt = latest?.round === committed + 1 ? latest.attempt + 1 : 1;
  const begun = start(rules, committed, undefined, after, attempt);
  if (reopened === undefined) return begun;
  const reason = "the aggregator was started anew, and no secure attempt is opened again";
  const abandoned = { type: "abandon", open: reopened, members: Members.of(), reason } as const;
  return then([abandoned], begun);
}

/** That a client has trained is to synchronous rounds what an update is. */
const asTraining = (event: RoundEvent): RoundEvent =>
  event.type === "answered" && event.phase === "train"
    ? { type: "admitted", client: event.client, work: event.work }
    : event;

/** What synchronous rounds would do, but for sealing a round: its clients have only trained. */
function secured(
  rules: SecureRules,
  before: RoundState,
  { state, effects }: Step<RoundState>,
): SecureStep {
  if (before.at === "sealing" || state.at !== "sealing") return { state, effects };
  const trained = [...state.members].filter(([, { status }]) => status === "counted");
  if (trained.length < state.quorum) return step(rules, state, { type: "short" });
  const { members, effects: told } = dismiss(state);
  const { open } = state;
  const { quorum: need } = wantedOf(rules, open);
  const from = { ...commonOf(state), open, members, need, left: new Map() };
  return then(told, enter(rules, from, "keys", trained.map(([id]) => id).sort()));
}

type Entering = Common & Pick<Securing, "open" | "members" | "need" | "left">;

/** Asks these clients for the next answer. */
function enter(
  rules: SecureRules,
  { open, members, need, left, ...common }: Entering,
  step: SecurePhase,
  asked: readonly string[],
): SecureStep {
  const state: Securing = {
    ...commonOf(common),
    ...{ at: "securing", open, members, step, asked, left },
    answered: new Set(),
    need: needOf(rules, open, step, asked.length) ?? need,
    sealing: false,
  };
  const entered = arm(state, rules.phaseDeadline);
  const effects = [{ type: "enter", phase: step, open, clients: asked }] as const;
  return then(and(entered, effects).effects, check(rules, entered.state));
}

/** How many answers a phase needs, where that is not what the one before it needed. */
function needOf(
  { ring }: SecureRules,
  open: Attempt,
  step: SecurePhase,
  clients: number,
): number | undefined {
  const threshold = ringOf(ring, open)?.threshold;
  if (step === "shares")
    return threshold === undefined ? thresholdOf(clients) : stayingIn(ring, clients);
  return step === "unmask" ? threshold : undefined;
}

function secureStep(rules: SecureRules, state: Securing, event: RoundEvent): SecureStep {
  switch (event.type) {
    case "roster":
      return { state: { ...state, roster: event.roster }, effects: [] };
    case "admitted":
    case "answered":
    case "refused":
    case "gone":
      return sameWork(workOf(state.open), event.work)
        ? take(rules, state, event)
        : { state, effects: [] };
    case "gathered":
      return state.sealing ? advance(rules, state) : { state, effects: [] };
    case "short":
      return state.sealing ? abandoned(rules, state, presence(state)) : { state, effects: [] };
    case "returned":
      return sameWork(workOf(state.open), event.work)
        ? returned(rules, state, event.client)
        : { state, effects: [] };
    case "back":
      return comesBack(state, event.client);
    case "unmasked":
      if (state.step !== "unmask" || !sameWork(workOf(state.open), event.work)) break;
      return committing(rules, state, state.open, state.members);
    case "sealed":
      if (!sameWork(workOf(state.open), event.work)) break;
      // More shares may come.
      if (state.step === "unmask" && pendingIn(state).length > 0) break;
      return abandoned(rules, state, event.reason);
    case "deadline":
      if (event.number !== state.deadline) break;
      if (state.sealing) return storageIsSilent(rules, state);
      if (state.answered.size >= state.need && state.step !== "unmask")
        return proceed(rules, state);
      return abandoned(rules, state, `${presence(state)} at the deadline`);
    case "broken":
    case "hold":
    case "stop":
      return stepAlike(rules, state, event);
    case "drain":
      return { state: { ...state, draining: true }, effects: [] };
    case "release":
      return { state: { ...state, held: false }, effects: [] };
  }
  return { state, effects: [] };
}

/** A client has answered, or will not. */
function take(
  rules: SecureRules,
  state: Securing,
  event: Extract<RoundEvent, { type: "admitted" | "answered" | "refused" | "gone" }>,
): SecureStep {
  const { client } = event;
  const { answered, left, step } = state;
  const isAsked = state.asked.includes(client);
  if (event.type !== "admitted" && event.type !== "answered")
    return check(rules, { ...state, left: new Map(left).set(client, endedMember(event)) });
  const isAnswer = event.type === "admitted" ? step === "masked" : event.phase === step;
  return isAnswer && isAsked && !answered.has(client)
    ? check(rules, { ...state, answered: new Set(answered).add(client) })
    : { state, effects: [] };
}

/** It is asked again, where its answer is missing. */
function comesBack(state: Securing, client: string): SecureStep {
  const { asked, answered, open } = state;
  const left = new Map(state.left);
  left.delete(client);
  const isMissing = asked.includes(client) && !answered.has(client);
  return {
    state: { ...state, left },
    effects: isMissing ? [{ type: "ask", client, work: workOf(open) }] : [],
  };
}

/** A masked update is asked for again, where it is not too late for that. */
function returned(rules: SecureRules, state: Securing, client: string): SecureStep {
  if (state.step !== "masked" || !state.answered.has(client)) return { state, effects: [] };
  const answered = new Set(state.answered);
  answered.delete(client);
  const asked = { ...state, answered, sealing: false };
  return state.sealing
    ? arm(asked, Math.min(rules.phaseDeadline, UPLOAD_AGAIN))
    : { state: asked, effects: [] };
}

const pendingIn = ({ asked, answered, left }: Securing): string[] =>
  asked.filter((client) => !answered.has(client) && !left.has(client));

/** Continues where all have answered, and gives up where too few can. */
function check(rules: SecureRules, state: Securing): SecureStep {
  const pending = pendingIn(state).length;
  if (state.answered.size + pending < state.need)
    return abandoned(
      rules,
      state,
      `${presence(state)}, and ${pending === 0 ? "no" : `only ${pending}`} more could come`,
    );
  return pending === 0 && state.step !== "unmask" && !state.sealing
    ? proceed(rules, state)
    : { state, effects: [] };
}

/** To the next phase; what is in the sum has to stand before anybody opens it. */
const proceed = (rules: SecureRules, state: Securing): SecureStep =>
  state.step === "masked"
    ? and(arm({ ...state, sealing: true }, rules.storageDeadline), [
        { type: "seal", open: state.open, least: state.need },
      ])
    : advance(rules, state);

/** The next phase, for those who answered. Before `verify` the others are out of the round. */
function advance(rules: SecureRules, state: Securing): SecureStep {
  const { open, asked, answered, step, left } = state;
  const following = SECURE_PHASES[SECURE_PHASES.indexOf(step) + 1];
  // On a ring nobody knows enough to sign for all.
  const isRing = ringOf(rules.ring, open) !== undefined;
  const next = following === "verify" && isRing ? "unmask" : following;
  const clients = asked.filter((client) => answered.has(client));
  const work = workOf(open);
  const isIn = step === "verify";
  const out = isIn ? [] : asked.filter((client) => !answered.has(client));
  const { members } = out.reduce(withoutClient, state);
  const silent = out.filter((client) => !left.has(client));
  return then(
    silent.map((client) => late({ client, work })),
    enter(rules, { ...state, members }, next, clients),
  );
}

const withoutClient = (state: Securing, client: string): Securing => {
  const { members, left, open } = state;
  const ended = left.get(client) ?? { status: "late", work: workOf(open) };
  return { ...state, members: members.with(client, ended) };
};

/** Calls the attempt off, and says of whom nothing came. */
function abandoned(rules: SecureRules, state: Securing, reason: string): SecureStep {
  const silent = state.asked.filter((client) => !state.answered.has(client));
  const { members } = silent.reduce(withoutClient, state);
  const why = blaming(members);
  return abandon(rules, { ...commonOf(state), open: state.open, members }, `${reason}${why}`);
}

const presence = ({ answered, need, step }: Securing): string =>
  `${answered.size} of ${need} answers needed for the phase ${step} were there`;

function inWords(state: Securing): string {
  const { open, asked, answered, need, step } = state;
  const pending = pendingIn(state).map((id) => id.slice(0, 8));
  const more = pending.length > 5 ? ` and ${pending.length - 5} more` : "";
  const names = pending.slice(0, 5).join(", ") || "the sum";
  return `Round ${open.round}, attempt ${open.attempt} (${step}) has ${answered.size} of ${asked.length} answers wanted, ${need} needed, and waits for ${names}${more}.`;
}
