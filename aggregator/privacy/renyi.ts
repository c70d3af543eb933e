import type { Release } from "./release.js";

// Renyi differential privacy of the Gaussian mechanism on a sample of the clients. Looser than the
// privacy loss distribution and computed in another way, so it is that one's check.

/** Fractional orders, by quadrature: integers alone give up to 8 % more. */
const TENTHS = Array.from({ length: 99 }, (_, i) => (11 + i) / 10).filter((a) => a % 1 !== 0);

export const ORDERS: readonly number[] = [
  ...TENTHS,
  ...Array.from({ length: 63 }, (_, i) => 2 + i),
  ...[80, 96, 128, 192, 256, 512],
];

/**
 * Of one release, at an order above 1 (Mironov et al. 2019).
 * @param sampling the chance that a client is in it
 * @param noise deviation over sensitivity
 */
export function renyi(sampling: number, noise: number, order: number): number {
  if (sampling === 1) return order / (2 * noise * noise);
  return Number.isInteger(order)
    ? bySum(sampling, noise, order)
    : byQuadrature(sampling, noise, order);
}

/**
 * ln(1 + sum of k = 2..a of C(a,k) q^k (1-q)^(a-k) (exp(k(k-1)/(2z^2)) - 1)) / (a-1): the sum to
 * the binomial theorem, whose 1 is taken out, for it would swallow the digits of a small one.
 */
function bySum(q: number, z: number, a: number): number {
  let choose = Math.log(a);
  const terms: number[] = [];
  for (let k = 2; k <= a; k++) {
    choose += Math.log((a - k + 1) / k);
    const x = (k * (k - 1)) / (2 * z * z);
    terms.push(
      choose + k * Math.log(q) + (a - k) * Math.log1p(-q) + (x < 700 ? Math.log(Math.expm1(x)) : x),
    );
  }
  const most = Math.max(...terms);
  const log = most + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - most), 0));
  return (log < 30 ? Math.log1p(Math.exp(log)) : log + Math.exp(-log)) / (a - 1);
}

const POINTS = 20_001;

/** ln E (1 - q + q exp((2x-1)/(2z^2)))^a over x of N(0, z^2), by the trapezoid rule, over a - 1. */
function byQuadrature(q: number, z: number, a: number): number {
  const low = -14 * z - 2;
  const step = (a + 28 * z + 4) / (POINTS - 1);
  const weights = new Float64Array(POINTS);
  const ratios = new Float64Array(POINTS);
  let largest = -Infinity;
  for (let i = 0; i < POINTS; i++) {
    const x = low + i * step;
    weights[i] = -(x * x) / (2 * z * z) - Math.log(z * Math.sqrt(2 * Math.PI));
    const loss = (2 * x - 1) / (2 * z * z);
    ratios[i] =
      loss < 1
        ? Math.log1p(q * Math.expm1(loss))
        : loss + Math.log(q) + Math.log1p(((1 - q) / q) * Math.exp(-loss));
    largest = Math.max(largest, a * ratios[i]);
  }
  if (largest < 600) {
    // The expected ratio, 1, is taken out, for the digits.
    let sum = 0;
    for (let i = 0; i < POINTS; i++)
      sum += Math.exp(weights[i]) * (Math.expm1(a * ratios[i]) - a * Math.expm1(ratios[i]));
    return Math.log1p(sum * step) / (a - 1);
  }
  const logs = weights.map((weight, i) => weight + a * ratios[i]);
  const most = logs.reduce((m, log) => Math.max(m, log), -Infinity);
  const sum = logs.reduce((s, log) => s + Math.exp(log - most), 0);
  return (most + Math.log(sum * step)) / (a - 1);
}

/** The epsilon at delta of all releases together (Canonne et al. 2020), and the order it is of. */
export function renyiEpsilon(
  releases: readonly Release[],
  delta: number,
  orders: readonly number[] = ORDERS,
): { readonly epsilon: number; readonly order: number } {
  const epsilons = orders.map((a) => {
    const sum = releases.reduce((s, r) => s + r.rounds * renyi(r.sampling, r.noise, a), 0);
    return sum + Math.log1p(-1 / a) - (Math.log(delta) + Math.log(a)) / (a - 1);
  });
  const best = epsilons.reduce((found, epsilon, i) => (epsilon < epsilons[found] ? i : found), 0);
  return { epsilon: Math.max(0, epsilons[best]), order: orders[best] };
}
