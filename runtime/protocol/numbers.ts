import * as v from "valibot";

/** A number from `least` to `most`. */
export const between = (least: number, most: number) =>
  v.pipe(v.number(), v.minValue(least), v.maxValue(most));

/** A number above 0, up to `most`. */
export const above0 = (most: number) =>
  v.pipe(
    between(0, most),
    v.check((number) => number > 0, "more than 0"),
  );

/** A whole number from `least` to `most`. */
export const whole = (least: number, most = Number.MAX_SAFE_INTEGER) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(least), v.maxValue(most));
