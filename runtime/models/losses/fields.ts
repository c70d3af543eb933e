import * as v from "valibot";

const POSITIVE = "a list of positive numbers";

/** Weights of classes or columns. */
export const weightList = v.pipe(
  v.array(v.pipe(v.number(POSITIVE), v.finite(POSITIVE), v.gtValue(0, POSITIVE)), POSITIVE),
  v.minLength(1, POSITIVE),
);
