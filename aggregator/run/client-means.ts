import { isDiverged, lossCap, normCap } from "../clients/claims.js";

/**
 * What the participants of a round measured, as they said it in their offers: means over all their
 * samples.
 */
export interface ClientMeans {
  /** With which they count together. */
  readonly samples: number;
  readonly lossBefore: number;
  readonly lossAfter: number;
  /** By layer; empty where nobody measured them. */
  readonly activationNorms: readonly number[];
}

/** What one of them said. */
export interface Measured {
  readonly client: string;
  readonly samples: number;
  readonly metrics: {
    readonly lossBefore: number;
    readonly lossAfter: number;
    readonly activationNorms: readonly number[];
  };
}

/** A figure that cannot be as its client said it: it is left out, or counts as less. */
export interface Doubt {
  readonly client: string;
  readonly reason: string;
}

const LOSSES = ["lossBefore", "lossAfter"] as const;

/**
 * Means weighted by samples, summed in the order given, which decides their last bits. A client
 * whose figures cannot be right is left out of them; one whose figure is far beyond the others'
 * counts with as much as `lossCap` and `normCap` allow.
 * @param layers how many norms a client has to say, if it says any
 */
export function clientMeans(
  clients: readonly Measured[],
  layers: number,
): { readonly means: ClientMeans; readonly doubts: readonly Doubt[] } {
  const doubts: Doubt[] = [];
  const doubt = ({ client }: Measured, reason: string) => void doubts.push({ client, reason });

  const plausible = clients.filter((measured) => {
    const { metrics } = measured;
    const negative = LOSSES.find((name) => metrics[name] < 0);
    const norms = metrics.activationNorms.length;
    if (negative !== undefined)
      doubt(measured, `"${negative}" expected 0 or more, got ${metrics[negative]}`);
    else if (norms > 0 && norms !== layers)
      doubt(measured, `"activationNorms" expected ${layers} numbers, got ${norms}`);
    else return true;
    return false;
  });

  // What a bad model does to clients differs by orders of magnitude, and is no fault of theirs.
  const isModelBad = LOSSES.some((name) => isDiverged(plausible.map((one) => one.metrics[name])));

  /** The mean of a figure over those who say it, none of them beyond what its cap is by all. */
  function mean(
    name: string,
    of: readonly Measured[],
    pick: (metrics: Measured["metrics"]) => number,
    capOf: (values: readonly number[]) => number,
  ): number {
    const most = capOf(of.map(({ metrics }) => pick(metrics)));
    let sum = 0;
    let total = 0;
    for (const measured of of) {
      const value = pick(measured.metrics);
      // Where most norms are zero, layers have died.
      if (value > most && most > 0 && !isModelBad)
        doubt(measured, `"${name}" expected at most ${most} beside the others', got ${value}`);
      sum += measured.samples * Math.min(value, most);
      total += measured.samples;
    }
    return total === 0 ? 0 : sum / total;
  }

  const [lossBefore, lossAfter] = LOSSES.map((name) =>
    mean(name, plausible, (metrics) => metrics[name], lossCap),
  );
  const withNorms = plausible.filter(({ metrics }) => metrics.activationNorms.length > 0);
  const activationNorms = Array.from({ length: withNorms.length > 0 ? layers : 0 }, (_, layer) =>
    mean(
      `activationNorms.${layer}`,
      withNorms,
      (metrics) => metrics.activationNorms[layer],
      normCap,
    ),
  );
  const samples = clients.reduce((sum, client) => sum + client.samples, 0);
  return { means: { samples, lossBefore, lossAfter, activationNorms }, doubts };
}
