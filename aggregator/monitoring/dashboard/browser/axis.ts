/** What decides from where to where a plot's upright axis runs. */
export interface AxisBounds {
  /** No value is larger, and the axis does not go beyond. */
  readonly most?: number;
  /** The axis begins at 0. */
  readonly fromZero?: boolean;
}

/**
 * The ends of an axis with some room around the values, which lie between `from` and `to`: never
 * below 0 where no value is, never beyond what there can be.
 */
export function axisOf({ most, fromZero }: AxisBounds, from: number, to: number): [number, number] {
  if (fromZero) return [0, to * 1.08 || 1];
  const room = (to - from) * 0.08 || Math.abs(to) * 0.1 || 1;
  const low = from >= 0 ? Math.max(0, from - room) : from - room;
  return [low, Math.min(to + room, most ?? Infinity)];
}
