/** How differently models serve the clients, each client counting alike. */
export interface Spread {
  readonly mean: number;
  /** Mean over the tenth of the clients (at least one) that are served worst. */
  readonly worstTenth: number;
}

/**
 * Mean and worst tenth of clients' values.
 * @returns nothing where there are none
 */
export function spreadOf(
  values: readonly number[],
  better: "higher" | "lower" | "nearer to 0" = "higher",
): Spread | undefined {
  if (values.length === 0) return undefined;
  const badness = { higher: (x: number) => -x, lower: (x: number) => x, "nearer to 0": Math.abs };
  const worst = [...values]
    .sort((a, b) => badness[better](b) - badness[better](a))
    .slice(0, Math.max(1, Math.round(values.length / 10)));
  const mean = (some: readonly number[]) => some.reduce((a, b) => a + b, 0) / some.length;
  return { mean: mean(values), worstTenth: mean(worst) };
}
