import { random } from "../../runtime/tensors/random.js";
import type {
  Attempt,
  Common,
  EngineState,
  RoundEffect,
  RoundEngine,
  RoundEvent,
  Step as EngineStep,
} from "./engine.js";
import { Members, sameWork, type Member, type Work } from "./participants.js";
import {
  and,
  arm,
  armUnlessOpened,
  barredIn,
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
  waitsForAlike,
  type Committing,
  type Ended,
  type ModeRules,
  type Opening,
  type Sealing,
} from "./transitions.js";

/**
 * Asynchronous rounds with a buffer: FedBuff (Nguyen et al. 2022, arXiv:2106.06639) as a pure state
 * machine. Up to `concurrency` clients train, each from the model that was the newest when it was
 * given its work. A finished client is counted, and another takes its place. K updates make a
 * round: it is committed, and clients that are training continue with their older model; an update
 * is as stale as the rounds that were committed since.
 *
 *     gathering -> opening -> buffering -> sealing -> committing -> opening ... -> finished
 *
 * Nothing is abandoned: a buffer stays open until it is committed. A client is in a buffer once at
 * most, and a client that gave up its work is not asked again before the next buffer, unless the
 * buffer cannot be filled without it.
 */
export interface BufferedRules extends ModeRules {
  /** K, the updates in a buffer. */
  readonly buffer: number;
  /** The most clients that work at a time. */
  readonly concurrency: number;
  /** Rounds committed since an update's model was the newest; one that is more stale is refused. */
  readonly maxStaleness: number;
  /**
   * Fewest clients with which the first buffer is opened, and fewest updates that are committed at
   * a deadline.
   */
  readonly minimum: number;
  /** For a client's work, and for a buffer to stay open without being looked at. */
  readonly deadline: number;
  /** Rest before clients that gave up are asked again, where nobody else is left. */
  readonly pause: number;
}

export type BufferedState = Running | Ended;
type Running =
  Gathering | (Opening & { readonly members: Members }) | Buffering | Sealing | Committing;

interface Gathering extends EngineState {
  readonly at: "gathering";
  readonly round: number;
  /** Those who have work from before a restart. */
  readonly members: Members;
  /** Ready clients without which no buffer opens. */
  readonly need: number;
}

type Opened = Common & Pick<Buffering, "open" | "members">;

interface Buffering extends EngineState {
  readonly at: "buffering";
  readonly open: Attempt;
  readonly members: Members;
  /** Only clients that gave up are left: they are asked at the deadline. */
  readonly resting: boolean;
}

type Step = EngineStep<BufferedState>;

/** Rounds that wait for any K updates. */
export const buffered = (rules: BufferedRules): RoundEngine<BufferedState> => ({
  maxStaleness: rules.maxStaleness,
  start: (committed, reopened, after) => start(rules, committed, reopened, after),
  step: (state, event) => step(rules, state, event),
  waitsFor: (state) => waitsFor(rules, state),
  retryAfter(state, client) {
    const lasts = state.at === "gathering" ? rules.gatherDeadline : rules.pause;
    return retryWithin(lasts, state, client);
  },
  outstanding: (state) => outstanding(rules, state),
});

function start(rules: BufferedRules, committed: number, reopened?: Attempt, after?: Common): Step {
  const from = after ?? NOTHING_YET;
  if (committed >= rules.rounds) return finish(from, committed);
  if (reopened !== undefined)
    return arm(
      {
        ...from,
        at: "buffering",
        open: reopened,
        members: Members.of(),
        resting: false,
      },
      rules.deadline,
    );
  return gather(rules, {
    ...from,
    at: "gathering",
    round: committed + 1,
    members: Members.of(),
    // After another machine they were awaited before.
    need: Math.max(after === undefined ? rules.gather : 1, rules.minimum, 1),
  });
}

function step(rules: BufferedRules, state: BufferedState, event: RoundEvent): Step {
  const same: Step = { state, effects: [] };
  if (state.at === "stopped") return same;
  if (state.at === "finished")
    return event.type === "pending" ? { state, effects: [late(event)] } : same;
  switch (event.type) {
    case "roster":
      return settled(rules, { ...state, roster: event.roster });
    case "begun":
      return state.at === "opening" ? buffer(rules, state) : same;
    case "admitted":
      return admitted(rules, state, event);
    case "pending":
      return pending(rules, state, event);
    case "refused":
    case "gone":
    case "expired":
      return gaveUp(rules, state, event);
    case "back":
      // A client that comes back with unfinished work reports it: `pending`.
      return same;
    case "answered":
    case "unmasked":
    case "sealed":
      // Of secure rounds.
      return same;
    case "gathered":
      return state.at === "sealing" ? committing(rules, state, state.open, state.members) : same;
    case "short":
      return state.at === "sealing" ? buffer(rules, state) : same;
    case "returned":
      return returned(rules, state, event);
    case "committed":
      return state.at === "committing" ? next(rules, state) : same;
    case "paused":
    case "broken":
    case "hold":
    case "stop":
      return stepAlike(rules, state, event);
    case "deadline":
      return event.number === state.deadline ? expire(rules, state) : same;
    case "drain":
      return state.at === "gathering"
        ? stop(state, state.round - 1, "drained")
        : settled(rules, { ...state, draining: true });
    case "release": {
      const released = { ...state, held: false };
      return state.held && released.at === "gathering"
        ? gather(rules, released)
        : { state: released, effects: [] };
    }
  }
}

/** The round that an update admitted now is counted in. */
const roundOf = (state: Running): number =>
  state.at === "gathering"
    ? state.round
    : state.at === "sealing" || state.at === "committing"
      ? state.open.round + 1
      : state.open.round;

const withMember = <S extends Running>(state: S, client: string, member: Member): S => ({
  ...state,
  members: state.members.with(client, member),
});

/** Looks at the roster, or at what has become of the members. */
const settled = (rules: BufferedRules, state: Running): Step =>
  state.at === "gathering"
    ? tryToOpen(rules, state)
    : state.at === "buffering"
      ? fill(rules, state)
      : { state, effects: [] };

const gather = (rules: BufferedRules, state: Gathering): Step =>
  armUnlessOpened(state, rules.gatherDeadline, (armed) => tryToOpen(rules, armed));

function tryToOpen(rules: BufferedRules, state: Gathering): Step {
  const { connected, barred = 0 } = state.roster;
  // Clients that have come and cannot train are not waited for.
  const enough =
    connected.length >= Math.max(1, rules.minimum) && connected.length + barred >= state.need;
  return state.held || !enough
    ? { state, effects: [] }
    : open(rules, state, state.round, state.members);
}

function open(rules: BufferedRules, from: Running, round: number, members: Members): Step {
  const { population, meanSamples } = from.roster;
  const attempt: Attempt = {
    round,
    attempt: 1,
    selected: [],
    goal: rules.buffer,
    population,
    meanSamples,
  };
  return opening(rules, from, attempt, { members });
}

/** The buffer is open: it stands in the journal. */
function buffer(rules: BufferedRules, from: Opened): Step {
  const { open, members } = from;
  const state: Buffering = { ...commonOf(from), at: "buffering", open, members, resting: false };
  const armed = arm(state, rules.deadline);
  return then(armed.effects, fill(rules, armed.state));
}

/** Commits a full buffer; else gives work to clients that are ready, as many as may train. */
function fill(rules: BufferedRules, from: Buffering): Step {
  if (from.members.count("counted") >= rules.buffer) return close(rules, from);
  const { state, effects } = from.draining ? { state: from, effects: [] } : ask(rules, from);
  if (state.members.count("asked") > 0)
    return state.resting
      ? and(arm({ ...state, resting: false }, rules.deadline), effects)
      : { state, effects };
  // Nobody works, and there is nobody to give work to.
  const counted = state.members.count("counted");
  const { population, barred = 0 } = state.roster;
  const all = Math.min(rules.buffer, population - barred);
  if (counted >= (rules.least ?? 1) && counted >= rules.quorum * all) return close(rules, state);
  if (state.draining)
    return enough(rules, state)
      ? close(rules, state)
      : stop(state, state.open.round - 1, "drained");
  const someGaveUp = outOf(state.members) > 0;
  return someGaveUp && !state.resting
    ? arm({ ...state, resting: true }, rules.pause)
    : { state, effects };
}

const isOut = ({ status }: Member): boolean => status === "lost" || status === "refused";

const outOf = (members: Members): number => members.count("lost") + members.count("refused");

/**
 * Draws among those who are ready and not in the buffer yet, by a generator that seed, round and
 * members decide.
 */
function ask(rules: BufferedRules, state: Buffering): EngineStep<Buffering> {
  const { roster, open } = state;
  const slots = rules.concurrency - state.members.count("asked");
  if (slots <= 0) return { state, effects: [] };
  const idle = roster.connected.filter((id) => !state.members.has(id));
  if (idle.length === 0) return { state, effects: [] };
  const chance = random(rules.seed, "buffered", open.round, state.members.size);
  const drawn = chance.shuffle(Uint32Array.from(idle.keys())).subarray(0, slots);
  let { members } = state;
  const effects: RoundEffect[] = [];
  const work: Work = { round: open.round, attempt: 1 };
  for (const i of drawn) {
    members = members.with(idle[i], { status: "asked", work });
    effects.push({
      type: "assign",
      client: idle[i],
      work,
      lease: rules.deadline,
    });
  }
  return { state: { ...state, members }, effects };
}

/**
 * Whether the buffer may be committed at its deadline: with its quorum of the updates that clients
 * at hand can make.
 */
function enough(rules: BufferedRules, state: Buffering): boolean {
  const { members, roster } = state;
  const others = roster.ids.filter((id) => !members.has(id)).length;
  const able = [...members].filter(([, { barred }]) => !barred).length;
  const reach = Math.min(rules.buffer, able + others);
  const needed = Math.max(
    rules.least ?? 1,
    Math.min(rules.minimum, rules.buffer),
    Math.ceil(rules.quorum * reach),
  );
  return members.count("counted") >= needed;
}

const close = (rules: BufferedRules, from: Buffering): Step =>
  sealing(rules, from, from.members.count("counted"), {});

/**
 * The round is committed: those who are still at work continue, unless the model has moved too far
 * from theirs.
 */
function next(rules: BufferedRules, from: Committing): Step {
  const { round } = from.open;
  const atWork = from.members.without(({ status }) => status !== "asked");
  if (round >= rules.rounds)
    return then<BufferedState>(
      [...atWork].map(([client, { work }]) => late({ client, work })),
      finish(from, round),
    );
  if (from.draining) return stop(from, round, "drained");
  const stale = ({ work }: Member) => isStale(rules, round + 1, work);
  return then(
    [...atWork]
      .filter(([, member]) => stale(member))
      .map(([client, { work }]) => late({ client, work }, "stale")),
    from.held
      ? gather(rules, {
          ...commonOf(from),
          at: "gathering",
          round: round + 1,
          members: atWork.without(stale),
          need: Math.max(1, rules.minimum),
        })
      : open(rules, from, round + 1, atWork.without(stale)),
  );
}

const isStale = (rules: BufferedRules, round: number, work: Work): boolean =>
  round - work.round > rules.maxStaleness;

type About<T extends RoundEvent["type"]> = Extract<RoundEvent, { type: T }>;

/** Also of a client that was lost, and of one that began before a restart. */
function admitted(rules: BufferedRules, state: Running, { client, work }: About<"admitted">): Step {
  const member = state.members.get(client);
  const isOther = member !== undefined && !sameWork(member.work, work);
  return isOther || member?.status === "counted"
    ? { state, effects: [] }
    : settled(rules, withMember(state, client, { status: "counted", work }));
}

/** From a seal back to buffering; with what is counted the buffer is as good as before. */
function returned(rules: BufferedRules, state: Running, { client, work }: About<"returned">): Step {
  const member = state.members.get(client);
  const isCounted = member?.status === "counted" && sameWork(member.work, work);
  if (!isCounted || (state.at !== "buffering" && state.at !== "sealing"))
    return { state, effects: [] };
  const asked = withMember(state, client, { status: "asked", work });
  return asked.at === "sealing" ? buffer(rules, asked) : { state: asked, effects: [] };
}

/** A client continues with work from before; it takes one of the places of `concurrency`. */
function pending(rules: BufferedRules, state: Running, { client, work }: About<"pending">): Step {
  const member = state.members.get(client);
  if (member !== undefined && !sameWork(member.work, work))
    return { state, effects: [late({ client, work })] };
  if (member !== undefined && member.status !== "lost") return { state, effects: [] };
  if (isStale(rules, roundOf(state), work))
    return { state, effects: [late({ client, work }, "stale")] };
  return then(
    [{ type: "assign", client, work, lease: rules.deadline }],
    settled(rules, withMember(state, client, { status: "asked", work })),
  );
}

/** Nothing will come of a client's work, as far as can be known; its place is free. */
function gaveUp(
  rules: BufferedRules,
  state: Running,
  event: About<"refused" | "gone" | "expired">,
): Step {
  const { client, work } = event;
  const member = state.members.get(client);
  const isCurrent =
    member !== undefined &&
    sameWork(member.work, work) &&
    (member.status === "asked" || member.status === "lost");
  // Its time is over also for one that is not counted on any more.
  const effects =
    event.type === "expired" && (isCurrent || member === undefined) ? [late({ client, work })] : [];
  if (!isCurrent) return { state, effects };
  const lost: Member =
    event.type === "expired" ? { status: "lost", work, code: "late" } : endedMember(event);
  return then(effects, settled(rules, withMember(state, client, lost)));
}

/** The deadline of the state has passed. */
function expire(rules: BufferedRules, state: Running): Step {
  switch (state.at) {
    case "gathering":
      return gather(rules, {
        ...state,
        // Nobody is awaited during a hold: after it as many as before.
        need: state.held ? state.need : Math.max(1, rules.minimum),
      });
    case "opening":
    case "sealing":
    case "committing":
      return storageIsSilent(rules, state);
    case "buffering": {
      if (!state.resting && enough(rules, state)) return close(rules, state);
      // Clients that gave up become eligible again.
      const members = state.members.without(isOut);
      const armed = arm({ ...state, members, resting: false }, rules.deadline);
      return then(armed.effects, fill(rules, armed.state));
    }
  }
}

function outstanding(rules: BufferedRules, state: BufferedState): Work[] {
  if (state.at === "finished" || state.at === "stopped") return [];
  const newest = roundOf(state);
  const oldest = Math.max(1, newest - rules.maxStaleness);
  return Array.from({ length: newest - oldest + 1 }, (_, i) => ({
    round: newest - i,
    attempt: 1,
  }));
}

function waitsFor(rules: BufferedRules, state: BufferedState): string {
  switch (state.at) {
    case "gathering":
      if (state.held)
        return `Round ${state.round} is paused until somebody lets it begin: ${state.roster.connected.length} clients are ready.`;
      return `Round ${state.round} waits for clients: ${state.roster.connected.length} of ${state.need} are ready${barredIn(state.roster)}.`;
    case "opening":
      return `Round ${state.open.round} waits for the storage to open its buffer${state.paused ? `: ${state.paused}` : ""}.`;
    case "buffering": {
      const { members, open } = state;
      const asked = members.count("asked");
      const out = outOf(members);
      const has = `Round ${open.round} has ${members.count("counted")} of ${rules.buffer} updates wanted`;
      if (asked > 0)
        return `${has}, and waits for ${asked} of at most ${rules.concurrency} clients at work.`;
      return state.resting
        ? `${has}, and rests for ${rules.pause} ms before it asks those again who gave up: ${out}.`
        : `${has}, and waits for clients: none that is not in it is ready${barredIn(state.roster)}.`;
    }
    default:
      return waitsForAlike(state);
  }
}
