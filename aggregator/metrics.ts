/** What the clients of a round measured, as they said it in their offers. */
export interface ClientMetrics {
  readonly samples: number;
  readonly metrics: {
    readonly lossBefore: number;
    readonly lossAfter: number;
    readonly activationNorms: readonly number[];
    readonly seconds: number;
  };
}

export interface RoundMetrics {
  readonly samples: number;
  /** Means over all samples. */
  readonly lossBefore: number;
  readonly lossAfter: number;
  /** By layer; empty where clients do not agree on the layers. */
  readonly activationNorms: readonly number[];
}

/** Means weighted by samples. The order given decides the last bits, so it must not be the order of arrival. */
export function meanMetrics(clients: readonly ClientMetrics[]): RoundMetrics {
  let total = 0;
  for (const { samples } of clients) total += samples;
  const mean = (pick: (metrics: ClientMetrics["metrics"]) => number) => {
    let sum = 0;
    for (const { samples, metrics } of clients) sum += samples * pick(metrics);
    return sum / total;
  };
  const layers = clients[0].metrics.activationNorms.length;
  const agree = clients.every(
    ({ metrics }) => metrics.activationNorms.length === layers,
  );
  return {
    samples: total,
    lossBefore: mean(({ lossBefore }) => lossBefore),
    lossAfter: mean(({ lossAfter }) => lossAfter),
    activationNorms: agree
      ? Array.from({ length: layers }, (_, layer) =>
          mean(({ activationNorms }) => activationNorms[layer]),
        )
      : [],
  };
}
