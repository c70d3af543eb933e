import type { Release } from "./release.js";
import { transform, type Sequence } from "./fourier.js";
import { leastWhere, normalTail } from "./gaussian.js";

// Privacy loss distributions (Koskela et al. 2020, Doroshenko et al. 2022): what an observer may
// learn of one client from one release, as chances of log-likelihood ratios on a grid; of many
// releases their convolution. Every rounding adds loss, so the epsilon is never too small.

/** What is compared: the releases with the client against those without, or the reverse. */
type Direction = "remove" | "add";

/** Chances of the losses (first + i) times the grid, and of losses without bound. */
interface LossDistribution {
  readonly first: number;
  readonly chances: Float64Array;
  readonly infinite: number;
}

/** Deviations of the noise that the grid spans; beyond them a loss counts as infinite. */
const REACH = 9.5;

/** log(1 - q + q exp(loss)) */
const sampled = (q: number, loss: number): number =>
  q === 1
    ? loss
    : loss < 1
      ? Math.log1p(q * Math.expm1(loss))
      : loss + Math.log(q) + Math.log1p(((1 - q) / q) * Math.exp(-loss));

/** Of one release, on the grid of step `h`. */
function distributionOf(
  { sampling: q, noise: z }: Release,
  h: number,
  direction: Direction,
): LossDistribution {
  const lossAt = (x: number) => sampled(q, (2 * x - 1) / (2 * z * z));
  const first = Math.floor(lossAt(-z * REACH) / h);
  const last = Math.ceil(lossAt(1 + z * REACH) / h);
  /** Where the noised number has this loss. */
  const at = (loss: number): number => {
    if (q === 1) return z * z * loss + 0.5;
    const rest = Math.expm1(loss) + q;
    return rest <= 0 ? -Infinity : z * z * Math.log(rest / q) + 0.5;
  };
  const cells = last - first;
  const between = new Float64Array(cells);
  const without = new Float64Array(cells);
  const chance = (a: number, b: number) =>
    a > 0 ? normalTail(a) - normalTail(b) : normalTail(-b) - normalTail(-a);
  let low = at(first * h);
  const lowest = low;
  for (let i = 0; i < cells; i++) {
    const high = at((first + i + 1) * h);
    without[i] = chance(low / z, high / z);
    between[i] = (1 - q) * without[i] + q * chance((low - 1) / z, (high - 1) / z);
    low = high;
  }
  const beyond = (mean: number) => normalTail((low - mean) / z) + normalTail((mean - lowest) / z);
  const remove = direction === "remove";
  const [from, p, r] = remove
    ? [first, between, without]
    : [-last, without.reverse(), between.reverse()];
  // A cell's chances under both are split between its two ends so that both sums are kept.
  const chances = new Float64Array(cells + 1);
  for (let i = 0; i < cells; i++) {
    const scaled = Math.exp((from + i) * h) * r[i];
    const upper = Math.min(p[i], Math.max(0, (p[i] - scaled) / -Math.expm1(-h)));
    chances[i] += p[i] - upper;
    chances[i + 1] += upper;
  }
  const infinite = remove ? (1 - q) * beyond(0) + q * beyond(1) : beyond(0);
  return { first: from, chances, infinite };
}

const POWERS = Array.from({ length: 24 }, (_, i) => 0.02 * 1.5 ** i);

/** Between which losses the sum lies but for a chance of `tail` on either side (Chernoff). */
function windowOf(
  parts: readonly { readonly one: LossDistribution; readonly rounds: number }[],
  h: number,
  tail: number,
): readonly [number, number] {
  const bound = (sign: 1 | -1) =>
    POWERS.map((power) => {
      const log = parts.reduce((sum, { one, rounds }) => {
        const { first, chances } = one;
        const at = (i: number) => sign * power * (first + i) * h;
        const most = Math.max(at(0), at(chances.length - 1));
        let moment = 0;
        for (let i = 0; i < chances.length; i++) moment += chances[i] * Math.exp(at(i) - most);
        return sum + rounds * (most + Math.log(moment));
      }, 0);
      return (log - Math.log(tail)) / power;
    }).reduce((least, x) => Math.min(least, x), Infinity);
  return [-bound(-1), bound(1)];
}

/** Points of the longest transform: a wider distribution has a wider grid. */
const MOST_POINTS = 2 ** 21;

/** The chances of the sum of all losses. */
function composed(
  releases: readonly Release[],
  step: number,
  direction: Direction,
  tail: number,
): LossDistribution & { readonly h: number } {
  for (let h = step; ; h *= 2) {
    const parts = releases.map((release) => ({
      one: distributionOf(release, h, direction),
      rounds: release.rounds,
    }));
    const [low, high] = windowOf(parts, h, tail);
    const first = Math.floor(low / h);
    const points = Math.ceil(high / h) - first + 1;
    const n = 2 ** Math.max(4, Math.ceil(Math.log2(points)));
    if (n > MOST_POINTS) continue;
    const product: Sequence = {
      real: new Float64Array(n).fill(1),
      imaginary: new Float64Array(n),
    };
    for (const { one, rounds } of parts) multiply(product, spectrumOf(one, n), rounds);
    // The inverse: with the parts swapped.
    transform({ real: product.imaginary, imaginary: product.real });
    const chances = new Float64Array(n);
    for (let i = 0; i < n; i++)
      chances[i] = Math.max(0, product.real[(((first + i) % n) + n) % n] / n);
    const lost = parts.reduce(
      (sum, { one, rounds }) => sum + rounds * Math.log1p(-one.infinite),
      0,
    );
    return { h, first, chances, infinite: -Math.expm1(lost) + 2 * tail };
  }
}

function spectrumOf({ first, chances }: LossDistribution, n: number): Sequence {
  const real = new Float64Array(n);
  chances.forEach((chance, i) => {
    real[(((first + i) % n) + n) % n] += chance;
  });
  const spectrum = { real, imaginary: new Float64Array(n) };
  transform(spectrum);
  return spectrum;
}

/** product *= spectrum^power */
function multiply({ real, imaginary }: Sequence, spectrum: Sequence, power: number): void {
  for (let i = 0; i < real.length; i++) {
    const size = Math.hypot(spectrum.real[i], spectrum.imaginary[i]) ** power;
    const angle = power * Math.atan2(spectrum.imaginary[i], spectrum.real[i]);
    const [re, im] = [size * Math.cos(angle), size * Math.sin(angle)];
    [real[i], imaginary[i]] = [real[i] * re - imaginary[i] * im, real[i] * im + imaginary[i] * re];
  }
}

/** The least epsilon at which no more than delta is lost: sum of (1 - exp(epsilon - loss))+. */
function epsilonAt(
  { first, chances, infinite, h }: ReturnType<typeof composed>,
  delta: number,
): number {
  if (infinite > delta) return Infinity;
  const from = Math.max(0, 1 - first);
  const count = Math.max(0, chances.length - from);
  const loss = (i: number) => (first + from + i) * h;
  // Sums from the far end, so that small ones stay exact.
  const sums = new Float64Array(count + 1);
  const discounted = new Float64Array(count + 1);
  for (let i = count - 1; i >= 0; i--) {
    sums[i] = sums[i + 1] + chances[from + i];
    discounted[i] = discounted[i + 1] + chances[from + i] * Math.exp(-loss(i));
  }
  const lost = (epsilon: number) => {
    const i = Math.min(count, Math.max(0, Math.floor(epsilon / h) + 1 - (first + from)));
    return sums[i] - Math.exp(epsilon) * discounted[i] + infinite;
  };
  if (lost(0) <= delta) return 0;
  return leastWhere((epsilon) => lost(epsilon) <= delta, 0, Math.max(0, loss(count)), 1e-12);
}

/** The epsilon at delta of all releases together, in one direction. */
export const lossEpsilon = (
  releases: readonly Release[],
  delta: number,
  direction: Direction,
  step = 1e-4,
): number => epsilonAt(composed(releases, step, direction, delta * 1e-6), delta);
