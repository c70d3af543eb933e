// What clients say of themselves, and how far it is believed: no single client may decide a figure
// that is made from all of them.

/** A client's samples count up to so many times the median of the clients that can be drawn. */
const TIMES_THE_MEDIAN = 4;

/** Samples that a client counts with at most where nobody says how many there are. */
export const MOST_SAMPLES = 1_000_000;

/**
 * The number in the middle, the lower one of the two where two are; 0 of no numbers. One client
 * more or less moves it by one place in their order.
 */
export function lowerMedian(values: Iterable<number>): number {
  const sorted = Float64Array.from(values).sort();
  return sorted.length === 0 ? 0 : sorted[(sorted.length - 1) >> 1];
}

/**
 * The most samples that one of these clients counts with, in a weight and in a mean.
 * @param counts what they say that they have; those without samples have no say
 * @param given what the run's settings say, which goes before the clients' median
 */
export function sampleCap(counts: Iterable<number>, given: number | undefined): number {
  if (given !== undefined) return given;
  const median = lowerMedian([...counts].filter((count) => count > 0));
  return median === 0 ? MOST_SAMPLES : Math.min(MOST_SAMPLES, TIMES_THE_MEDIAN * median);
}

/** A loss or a norm counts up to so many times the median of those that others say. */
const TIMES_THE_FIGURE = 10;

/**
 * Nats per example: a loss up to this counts wherever the median is. A guess among ten thousand
 * classes has 9.
 */
const ORDINARY_LOSS = 20;

/** The largest mean loss of one client that counts, by those of all. */
export const lossCap = (losses: Iterable<number>): number =>
  Math.max(ORDINARY_LOSS, TIMES_THE_FIGURE * lowerMedian(losses));

/** Whether the median of these is no ordinary loss: then the model is bad, and not who says so. */
export const isDiverged = (losses: Iterable<number>): boolean =>
  lowerMedian(losses) > ORDINARY_LOSS;

/** The largest activation norm of one client that counts, by those of all. */
export const normCap = (norms: Iterable<number>): number => TIMES_THE_FIGURE * lowerMedian(norms);
