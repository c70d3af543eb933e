import type { AggregatorSettings } from "../settings.js";
import type { EngineState, RoundEffect, RoundEngine, Step } from "./engine.js";
import { synchronous, type RoundRules, type RoundState } from "./synchronous.js";
import { commonOf, NOTHING_YET, stop } from "./transitions.js";

/**
 * Statistics before the first round, as a pure state machine in front of another one: clients are
 * asked for them as in one synchronous round, with its deadline, its quorum and its attempts. Once
 * they are committed, the rounds begin; or, where the run may do without, once those who have come
 * are enough for a round and too few of them can give statistics.
 *
 *     gathering -> opening -> collecting -> committing -> the first state of the rounds
 *
 * An attempt at statistics is not reopened by a restart: clients answer the same again.
 */
export type StatisticsState<S extends EngineState> =
  | (EngineState & { readonly phase: "statistics"; readonly of: RoundState })
  | (EngineState & { readonly phase?: undefined; readonly of: S });

/**
 * @param rules of the phase, its `phase` left out
 * @param isOptional the rounds begin without statistics where they cannot be had
 */
export function statisticsFirst<S extends EngineState>(
  rules: Omit<RoundRules, "phase">,
  rounds: RoundEngine<S>,
  isOptional = false,
): RoundEngine<StatisticsState<S>> {
  const phase = "statistics";
  const asking = synchronous({ ...rules, phase });
  const before = ({ state, effects }: Step<RoundState>): Step<StatisticsState<S>> =>
    isOptional && isHopeless(rules, state)
      ? begin(state, [...effects, { type: "without", phase }])
      : { state: { ...state, phase, of: state }, effects };
  const then = ({ state, effects }: Step<S>): Step<StatisticsState<S>> => ({
    state: { ...state, phase: undefined, of: state },
    effects,
  });
  /** Who can give statistics and who can train are not the same clients. */
  const begin = (
    of: RoundState,
    effects: readonly RoundEffect[] = [],
  ): Step<StatisticsState<S>> => {
    const begun = rounds.start(0, undefined, { ...commonOf(of), roster: NOTHING_YET.roster });
    return then({ ...begun, effects: [...effects, ...begun.effects] });
  };
  return {
    maxStaleness: rounds.maxStaleness,
    start: () => before(asking.start(0)),
    step(state, event) {
      if (state.phase === undefined) return then(rounds.step(state.of, event));
      const { of } = state;
      if (event.type !== "committed" || of.at !== "committing")
        return before(asking.step(of, event));
      if (of.draining) return before(stop(of, 0, "drained"));
      return begin(of);
    },
    waitsFor: (state) =>
      state.phase === undefined ? rounds.waitsFor(state.of) : asking.waitsFor(state.of),
    retryAfter: (state, client) =>
      state.phase === undefined
        ? rounds.retryAfter(state.of, client)
        : asking.retryAfter(state.of, client),
    outstanding: (state) => (state.phase === undefined ? rounds.outstanding(state.of) : []),
  };
}

/** Whether a run begins without statistics that cannot be had: nobody asked for them by name. */
export const mayDoWithout = ({ normalise }: Pick<AggregatorSettings, "normalise">): boolean =>
  normalise === undefined;

/** Those who have come would be enough, and too few of them can give statistics. */
const isHopeless = ({ selection }: Pick<RoundRules, "selection">, state: RoundState): boolean => {
  if (state.at !== "gathering" || state.resting || state.held) return false;
  const { ids, barred = 0 } = state.roster;
  return (
    barred > 0 && ids.length < Math.max(1, selection.minimum) && ids.length + barred >= state.need
  );
};
