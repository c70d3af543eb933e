import { ERROR_BINS } from "../../runtime/models/metrics/sums.js";
import type { ThresholdRecord } from "../storage/ledger.js";
import { sampleCap } from "./claims.js";

/** From so many clients on those at the ends are left out. */
const ENOUGH = 3;

/** The part of the clients that is left out at either end. */
const OUTER = 1 / 10;

/** The upper edge of a bin of errors: bins are 1/8 octave wide and begin at 2^-20. */
export const edgeOf = (bin: number): number => 2 ** ((bin + 1) / 8 - 20);

/**
 * The error that the share `quantile` of the clients' held-out examples does not exceed, as the upper
 * edge of its bin; and whose errors were counted and left out. From three clients on the tenth
 * of them (at least one) whose own quantiles are lowest is left out, and as many whose are highest. So
 * while no more lie than are left out at an end, it is within what honest clients say. Nobody counts with more
 * examples than the cap of all counts.
 * @param histograms examples by bin of their error, by client id; those without any are nobody's
 */
export function thresholdOf(
  histograms: ReadonlyMap<string, readonly number[]>,
  quantile: number,
  maxSamples: number | undefined,
): { readonly value: number; readonly members: string[]; readonly leftOut: string[] } | undefined {
  const own = [...histograms]
    .map(([id, bins]) => ({ id, bins, count: total(bins), at: quantileOf(bins, quantile) }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
  if (own.length === 0) return undefined;
  const outer = own.length < ENOUGH ? 0 : Math.max(1, Math.floor(OUTER * own.length));
  const kept = own.slice(outer, own.length - outer);
  const cap = sampleCap(
    own.map(({ count }) => count),
    maxSamples,
  );
  // In rising order of ids, so that the order of arrival changes no bit.
  const sorted = [...kept].sort((a, b) => (a.id < b.id ? -1 : 1));
  const sum = new Array<number>(ERROR_BINS).fill(0);
  for (const { bins, count } of sorted)
    bins.forEach((n, bin) => (sum[bin] += (n * Math.min(count, cap)) / count));
  return {
    value: edgeOf(quantileOf(sum, quantile)),
    members: sorted.map(({ id }) => id),
    leftOut: own.flatMap((one) => (kept.includes(one) ? [] : [one.id])).sort(),
  };
}

const total = (bins: readonly number[]): number => bins.reduce((a, b) => a + b, 0);

/** The first bin up to which the share `quantile` lies. */
function quantileOf(bins: readonly number[], quantile: number): number {
  const wanted = quantile * total(bins);
  let below = 0;
  const found = bins.findIndex((n) => (below += n) >= wanted * (1 - 1e-12) && below > 0);
  return found < 0 ? bins.length - 1 : found;
}

/** What was taken, or why nothing, in a sentence. */
export function thresholdInWords({ clients, minimum, record }: TakenThreshold): string {
  if (record === undefined)
    return `There is no threshold: ${clients} of at least ${minimum} clients gave errors of examples that they held out.`;
  const { quantile, value, leftOut } = record;
  const outer = leftOut.length === 0 ? "" : `, ${leftOut.length} of them left out at the ends`;
  return `An error above ${value.toPrecision(4)} is an anomaly: ${100 * quantile} % of what ${clients} clients held out is below it${outer}.`;
}

/** That a threshold was taken. */
export const takenBy = (record: ThresholdRecord, minimum: number): TakenThreshold => ({
  clients: record.members.length + record.leftOut.length,
  minimum,
  record,
});

/** What came of asking for a threshold. */
export interface TakenThreshold {
  /** Clients that gave errors, and how many are needed. */
  readonly clients: number;
  readonly minimum: number;
  /** Absent where they were too few. */
  readonly record?: ThresholdRecord;
}
