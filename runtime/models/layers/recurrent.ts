import * as v from "valibot";
import { ACTIVATIONS, type ActivationName } from "./activations.js";
import { positiveInteger } from "./fields.js";
import type { Complain, Run, Shape } from "./layer.js";

// What the recurrent layers (gru.ts, lstm.ts) share.

/** Those whose derivative follows from their value: z is not kept step by step. */
const NAMES = (Object.keys(ACTIVATIONS) as ActivationName[]).filter(
  (name) => !ACTIVATIONS[name].keeps,
);
const activationOfStep = v.optional(v.picklist(NAMES, `one of ${NAMES.join(", ")}`));

export const recurrentFields = {
  units: positiveInteger,
  returnSequences: v.optional(v.boolean("true or false")),
  reverse: v.optional(v.boolean("true or false")),
  activation: activationOfStep,
  recurrentActivation: activationOfStep,
};

/** A step of the loop over time: where its rows lie among the steps, and its neighbours'. */
export interface TimeStep {
  /** Place in the sequence: the order of the loop unless `reverse`. */
  readonly at: number;
  /** Place of the step before it, and of the one behind it; absent at the ends. */
  readonly before?: number;
  readonly next?: number;
}

/** The steps of a sequence in the order in which they are computed. */
export function stepsOf(length: number, reverse: boolean): readonly TimeStep[] {
  const places = Array.from({ length }, (_, i) => (reverse ? length - 1 - i : i));
  return places.map((at, i) => ({ at, before: places[i - 1], next: places[i + 1] }));
}

/** [length, channels] of the input. */
export function sequenceOf(input: Shape, complain: Complain): readonly [number, number] {
  if (input.length !== 2) complain("input", "[length, channels]", `[${input.join(", ")}]`);
  return [input[0], input[1]];
}

/** Consecutive regions of memory for a batch: how many words per example each takes. */
export function regions<Name extends string>(
  address: number,
  batch: number,
  words: Readonly<Record<Name, number>>,
): Readonly<Record<Name, number>> {
  let at = address;
  const places = Object.entries<number>(words).map(([name, count]) => {
    const place = at;
    at += 4 * batch * count;
    return [name, place] as const;
  });
  return Object.fromEntries(places) as Record<Name, number>;
}

/** How many words per example the regions take. */
export const wordsOf = (words: Readonly<Record<string, number>>): number =>
  Object.values(words).reduce((sum, count) => sum + count, 0);

/** A matrix in memory: its address, and the floats from row to row. */
export type Matrix = readonly [address: number, stride: number];

/** c [+]= a b [+ bias], a: [m, k], b: [k, n]; `how` as gemm's. */
export const product = (
  { kernels, scratch }: Run,
  how: number,
  [m, n, k]: readonly [number, number, number],
  [a, lda]: Matrix,
  [b, ldb]: Matrix,
  [c, ldc]: Matrix,
  bias = 0,
): void => void kernels.gemm(how, m, n, k, a, lda, b, ldb, c, ldc, bias, scratch);
