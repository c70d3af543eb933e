/** What decides from where to where a plot's upright axis runs. */
export interface AxisBounds {
  /** No value is larger, and the axis does not go beyond. */
  readonly most?: number;
  /** The axis begins at 0. */
  readonly fromZero?: boolean;
}

/** Steps between the marks of an axis: none has a digit more than its label shows, as 0.25 has. */
export const STEPS = Array.from({ length: 19 }, (_, k) =>
  [1, 2, 5].map((digit) => Number(`${digit}e${k - 8}`)),
).flat();

/** The labels of an axis's marks: the short ones, where they tell the marks apart. */
export function labelsOf(
  marks: readonly number[],
  long: (value: number) => string,
  short = long,
): string[] {
  const labels = marks.map(short);
  return new Set(labels).size === marks.length ? labels : marks.map(long);
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
