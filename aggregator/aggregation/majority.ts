import type { Gathered, Rule } from "./rules/rule.js";

/** Shared by rules that bear fewer hostile updates than there are honest ones. */
export const majority = {
  condition: "n >= 2f + 1",
  least: (hostile: number) => 2 * hostile + 1,
  needsHostile: false,
  streams: () => undefined,
  keepsCentre: false,
} satisfies Partial<Rule>;

/** The same for rules that can take samples as weights, where the number `weighted` is 1. */
export const weightedMajority = {
  ...majority,
  defaults: { weighted: 0 },
  refuses: ({ weighted }) =>
    weighted === 0 || weighted === 1 ? undefined : `"weighted" expected 0 or 1, got ${weighted}`,
  refusesRound(round) {
    const weights = [...weightsIn(round)].sort((a, b) => b - a);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const most = weights.slice(0, round.hostile).reduce((sum, weight) => sum + weight, 0);
    return 2 * most < total
      ? undefined
      : `the ${round.hostile} updates with the most samples have ${most} of all ${total}, and hostile ones may not have half`;
  },
} satisfies Partial<Rule>;

/** All the same, or the samples that each update counts with. */
export const weightsIn = ({ rows, weights, settings }: Gathered): readonly number[] =>
  settings["weighted"] === 1 ? weights : rows.map(() => 1);
