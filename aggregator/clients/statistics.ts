import type { StatisticsRecord } from "../storage/ledger.js";
import type { Normalisation } from "../../runtime/data/dataset.js";
import { printable } from "../../runtime/protocol/printable.js";
import { lowerMedian, sampleCap } from "./claims.js";

/** What one client says of its inputs, per channel: over its examples, about its own mean. */
export interface ClientStatistics {
  /** Examples. */
  readonly count: number;
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** From so many clients on what one of them can move is bounded. */
const ENOUGH = 3;

/** Spreads that a client's mean may lie off the median, and that its deviation may have. */
const SPREADS = 4;

/**
 * The statistics of all clients' examples together, in float64 and in rising order of client ids, so that the order of arrival
 * changes no bit. They equal those of the pooled examples where nobody is held to a bound.
 *
 * One client moves them within bounds, from three clients on: in each channel its mean is held to four
 * spreads about the median of the means, its deviation to four spreads. A client's spread is the root mean
 * square of its inputs about that median; the spread is the one of them at place n - max(1, floor(n / 4)) in rising
 * order. So a client with the share w of the examples moves the mean by at most 8 w spreads, and the
 * variance ends between (1 - w) times what it were without the client and 80 w squared spreads above.
 * @param answers by client id; all have as many channels
 * @param maxSamples examples that a client counts with at most; by the clients' median if not given
 */
export function mergeStatistics(
  answers: ReadonlyMap<string, ClientStatistics>,
  maxSamples: number | undefined,
): Pick<StatisticsRecord, "count" | "mean" | "deviation" | "members" | "held"> {
  const sorted = [...answers].sort(([a], [b]) => (a < b ? -1 : 1));
  const cap = sampleCap(
    sorted.map(([, { count }]) => count),
    maxSamples,
  );
  const weights = sorted.map(([, { count }]) => Math.min(count, cap));
  const count = weights.reduce((a, b) => a + b, 0);
  const average = (of: (client: number) => number): number =>
    weights.reduce((sum, weight, k) => sum + weight * of(k), 0) / count;
  const mean: number[] = [];
  const deviation: number[] = [];
  const heldIn = new Map<string, number[]>();
  for (let channel = 0; channel < (sorted[0]?.[1].mean.length ?? 0); channel++) {
    const given = sorted.map(([, one]) => ({
      mean: one.mean[channel],
      deviation: one.deviation[channel],
    }));
    const kept = bounded(given);
    kept.forEach((one, k) => {
      if (one === given[k]) return;
      const [id] = sorted[k];
      heldIn.set(id, [...(heldIn.get(id) ?? []), channel]);
    });
    const middle = average((k) => kept[k].mean);
    mean.push(middle);
    deviation.push(
      Math.sqrt(average((k) => kept[k].deviation ** 2 + (kept[k].mean - middle) ** 2)),
    );
  }
  return {
    count,
    mean,
    deviation,
    members: sorted.map(([id]) => id),
    held: [...heldIn]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([client, channels]) => ({ client, channels })),
  };
}

interface Moments {
  readonly mean: number;
  readonly deviation: number;
}

/** The same where they are within the bounds, others in the place of those that are not. */
function bounded(given: readonly Moments[]): readonly Moments[] {
  const n = given.length;
  if (n < ENOUGH) return given;
  const middle = lowerMedian(given.map(({ mean }) => mean));
  const spreads = Float64Array.from(given, ({ mean, deviation }) =>
    Math.hypot(deviation, mean - middle),
  ).sort();
  const most = SPREADS * spreads[n - Math.max(1, Math.floor(n / 4)) - 1];
  return given.map((one) => {
    const mean = Math.min(middle + most, Math.max(middle - most, one.mean));
    const deviation = Math.min(most, one.deviation);
    return mean === one.mean && deviation === one.deviation ? one : { mean, deviation };
  });
}

/** A deviation up to so many times the mean's size is none. */
const LEAST_DEVIATION = 1e-6;

/** Deviations that a mean may be away from 0 while float32 inputs keep enough digits. */
const MOST_DEVIATIONS = 10_000;

/** A channel that never changes: it cannot be scaled. */
export const isConstant = (mean: number, deviation: number): boolean =>
  deviation <= LEAST_DEVIATION * Math.abs(mean);

/** A channel whose float32 inputs keep few digits of what changes in them. */
export const isFarOff = (mean: number, deviation: number): boolean =>
  !isConstant(mean, deviation) && Math.abs(mean) > MOST_DEVIATIONS * deviation;

/** A channel that never changes is divided by 1. */
export const scaleBy = ({ mean, deviation }: Pick<StatisticsRecord, "mean" | "deviation">) => ({
  mean,
  deviation: deviation.map((one, channel) => (isConstant(mean[channel], one) ? 1 : one)),
});

/** What the model's card says. */
export const normalisationBy = (
  record: Pick<StatisticsRecord, "scale" | "mean" | "deviation">,
): Normalisation => ({ scale: record.scale, ...scaleBy(record) });

/** What people should know of the statistics of a run, in sentences; the first one says what they are. */
export function statisticsInWords(record: StatisticsRecord, names?: readonly string[]): string[] {
  const { count, members, mean, deviation, held } = record;
  const listed = (channels: readonly number[]) => {
    const shown = channels
      .slice(0, 5)
      .map((channel) =>
        channel < mean.length ? channelName(channel, names) : targetName(channel - mean.length),
      );
    return shown.join(", ") + (channels.length > 5 ? ` and ${channels.length - 5} more` : "");
  };
  const those = (are: typeof isConstant) =>
    [...mean.keys()].filter((channel) => are(mean[channel], deviation[channel]));
  const [constant, farOff] = [those(isConstant), those(isFarOff)];
  return [
    `Inputs are normalised by statistics of ${count} examples of ${members.length} clients.`,
    ...(members.length < ENOUGH
      ? [`Of fewer than ${ENOUGH} clients nobody's numbers are bounded: one can move them at will.`]
      : []),
    ...held.map(
      ({ client, channels }) =>
        `Statistics of client ${client.slice(0, 8)} are far from the others' and were held to a bound: ${listed(channels)}.`,
    ),
    ...(constant.length > 0
      ? [`Inputs that never change cannot be scaled: ${listed(constant)}.`]
      : []),
    ...(farOff.length > 0
      ? [
          `Inputs whose mean is far above their deviation keep few digits in float32: ${listed(farOff)}.`,
        ]
      : []),
  ];
}

/** A number of the targets, as people are told of it. */
export const targetName = (place: number): string => `target ${place}`;

/** A channel, as people are told of it. */
export const channelName = (channel: number, names?: readonly string[]): string =>
  names === undefined ? `channel ${channel}` : `column ${printable(names[channel]).slice(0, 40)}`;
