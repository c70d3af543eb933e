import { medianOf, weightedSum, type Gathered, type Rule } from "./rules/rule.js";

/** What the clipping rules share: their radius, and that they stream where it is given. */
export const radiusOf = {
  /** 0: the median of the round's own distances, for which all updates have to be there. */
  defaults: { radius: 0 },
  refuses: ({ radius }) =>
    radius >= 0 && radius <= 1e30
      ? undefined
      : `"radius" expected a number from 0 (for the median of the round's distances) to 1e30, got ${radius}`,
  streams: ({ radius }) => (radius > 0 ? { kind: "clipped", radius } : undefined),
} satisfies Partial<Rule>;

/** How much of its way from the centre an update keeps. */
export const shareWithin = (radius: number, distance: number): number =>
  distance > radius ? radius / distance : 1;

/** centre + mean (x - centre) min(1, radius / distance) */
export function clippedMean(
  round: Gathered,
  centre: Float64Array,
  distances: readonly number[],
): Float64Array {
  const radius = round.settings["radius"] || medianOf(distances);
  const shares = distances.map((distance) => shareWithin(radius, distance));
  const count = round.rows.length;
  const left = 1 - shares.reduce((sum, share) => sum + share, 0) / count;
  return weightedSum(round, (i) => shares[i] / count).map((x, i) => x + left * centre[i]);
}
