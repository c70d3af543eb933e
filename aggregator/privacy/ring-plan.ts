/** Parts of the clients, from 0 to below 1, that a ring of masks is to bear. */
export interface RingRisk {
  /** Who put their shares together with the aggregator. */
  readonly corrupt: number;
  /** Who leave in the middle of an attempt. */
  readonly dropout: number;
}

/** Neighbours of each client, and how many of the shares of its secrets give them back. */
export interface RingPlan {
  readonly k: number;
  readonly t: number;
}

/** The odds, for each attempt, that somebody's update is open to others, or that the sum is lost. */
const OPENED = 2 ** -40;
const LOST = 2 ** -20;

/** ln 0! to ln n!. */
function logFactorials(n: number): Float64Array {
  const table = new Float64Array(n + 1);
  for (let i = 2; i <= n; i++) table[i] = table[i - 1] + Math.log(i);
  return table;
}

/**
 * The least even k, with its least t, for a ring of n clients (Bell et al. 2020, section 3): nobody
 * has t corrupt neighbours, and the ring of those who are honest and stay is not cut, but for odds
 * of 2^-40; everybody keeps t neighbours, but for odds of 2^-20. Nothing where the complete graph is
 * needed.
 * @param leastShares a t below which none is taken
 */
export function ringPlan(
  n: number,
  { corrupt, dropout }: RingRisk,
  leastShares: (k: number) => number = () => 2,
): RingPlan | undefined {
  const logs = logFactorials(n);
  const choose = (a: number, b: number) => logs[a] - logs[b] - logs[a - b];
  /** P[from <= X <= to], X being how many of k drawn from n - 1 are among the marked. */
  function between(marked: number, k: number, from: number, to: number): number {
    let sum = 0;
    for (let i = Math.max(from, 0); i <= Math.min(to, k, marked); i++)
      if (k - i <= n - 1 - marked)
        sum += Math.exp(choose(marked, i) + choose(n - 1 - marked, k - i) - choose(n - 1, k));
    return sum;
  }
  const bad = Math.ceil(corrupt * n);
  const staying = n - 1 - Math.ceil(dropout * n);
  for (let k = 4; k < n - 1; k += 2) {
    if (n * (corrupt + dropout) ** (k / 2) > OPENED) continue;
    let t = leastShares(k);
    while (t <= k && n * between(bad, k, t, k) > OPENED) t++;
    if (t <= k && n * between(staying, k, 0, t - 1) <= LOST) return { k, t };
  }
  return undefined;
}
