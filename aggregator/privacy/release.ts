/** Releases of the same kind: sums of clipped contributions with Gaussian noise. */
export interface Release {
  /** The chance with which a client is in each, by a coin that only the aggregator sees. */
  readonly sampling: number;
  /** The noise multiplier: deviation over the most that one client changes the sum by. */
  readonly noise: number;
  readonly rounds: number;
}
