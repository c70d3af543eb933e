import { listOf, numberThat } from "../layers/fields.js";

const POSITIVE = "a list of positive numbers";

/** Weights of classes or columns. */
export const weightList = listOf(
  numberThat(POSITIVE, (value) => value > 0 && value < Infinity),
  POSITIVE,
);
