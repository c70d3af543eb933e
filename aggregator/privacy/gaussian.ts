// The Gaussian mechanism in closed form: what one release, or many with the same noise, cost.

/** Where the series needs more terms than the continued fraction. */
const CROSSING = 2.5;

/** The logarithm of the chance that a standard normal number is above `x`, to about 1e-13. */
export function logNormalTail(x: number): number {
  if (x < CROSSING) return Math.log(normalTail(x));
  return -(x * x) / 2 - Math.log(Math.sqrt(2 * Math.PI)) + Math.log(millsRatio(x));
}

/** The chance that a standard normal number is above `x`, with its digits far out too. */
export function normalTail(x: number): number {
  if (x >= CROSSING) return x > 40 ? 0 : density(x) * millsRatio(x);
  return x <= -CROSSING ? 1 - normalTail(-x) : 0.5 - density(x) * series(x);
}

const density = (x: number): number => Math.exp(-(x * x) / 2) / Math.sqrt(2 * Math.PI);

/** (Phi(x) - 1/2) / density(x) = x + x^3/3 + x^5/(3 5) + ..., of terms of one sign. */
function series(x: number): number {
  let term = x;
  let sum = x;
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(sum); k += 2) {
    term *= (x * x) / k;
    sum += term;
  }
  return sum;
}

/** Tail over density, as Laplace's continued fraction from its far end. */
function millsRatio(x: number): number {
  let below = x;
  for (let k = Math.ceil(12 + 700 / (x * x)); k > 0; k--) below = x + k / below;
  return 1 / below;
}

/**
 * The delta of a Gaussian mechanism at epsilon, exactly (Balle and Wang 2018).
 * @param mu sensitivity over deviation
 */
export const gaussianDelta = (epsilon: number, mu: number): number =>
  normalTail(epsilon / mu - mu / 2) - Math.exp(epsilon + logNormalTail(epsilon / mu + mu / 2));

/**
 * The least epsilon of a Gaussian mechanism at delta.
 * @param mu sensitivity over deviation; of T releases with the same noise sqrt(T) as much
 */
export function gaussianEpsilon(mu: number, delta: number): number {
  if (mu === 0 || gaussianDelta(0, mu) <= delta) return 0;
  let most = 1;
  while (gaussianDelta(most, mu) > delta) most *= 2;
  return leastWhere((epsilon) => gaussianDelta(epsilon, mu) <= delta, 0, most);
}

/** The least deviation, at sensitivity 1, of a Gaussian mechanism that keeps epsilon at delta. */
export function analyticSigma(epsilon: number, delta: number): number {
  const keeps = (sigma: number) => gaussianDelta(epsilon, 1 / sigma) <= delta;
  let most = 1;
  while (!keeps(most)) most *= 2;
  return leastWhere(keeps, most / 2 ** 30, most);
}

/** The least number, to the last bits, from which on a condition holds; on the side where it does. */
export function leastWhere(
  holds: (x: number) => boolean,
  low: number,
  high: number,
  precision = 1e-13,
): number {
  let [below, above] = [low, high];
  while (above - below > precision * above) {
    const middle = (below + above) / 2;
    if (middle <= below || middle >= above) break;
    if (holds(middle)) above = middle;
    else below = middle;
  }
  return above;
}
