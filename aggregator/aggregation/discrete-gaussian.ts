import { randomFillSync } from "node:crypto";

/**
 * Numbers that nobody can foresee or repeat. Noise from a run's seed would protect nobody, since
 * anybody who knows the seed can take it off again.
 */
export interface Chance {
  /** A uniform integer from 0 to below `most`, which is at most 2^53. */
  below(most: number): number;
  /** The same without a bound. */
  belowLarge(most: bigint): bigint;
}

/** Bytes that are asked for at a time. */
const PIECE = 64 * 1024;

/**
 * Chance from these words.
 * @param fill fills the words with uniform bits
 */
export function chanceFrom(fill: (words: Uint32Array) => void): Chance {
  const words = new Uint32Array(PIECE / 4);
  let used = words.length;
  const word = (): number => {
    if (used === words.length) {
      fill(words);
      used = 0;
    }
    const drawn = words[used];
    // A draw is of use once.
    words[used++] = 0;
    return drawn;
  };
  /** Draws again what lies above the last whole multiple, so that each number is as likely. */
  const below = (most: number): number => {
    if (most <= 2 ** 16) {
      const end = 2 ** 32 - (2 ** 32 % most);
      for (;;) {
        const drawn = word();
        if (drawn < end) return drawn % most;
      }
    }
    const end = 2 ** 53 - (2 ** 53 % most);
    for (;;) {
      const drawn = (word() & 0x1fffff) * 2 ** 32 + word();
      if (drawn < end) return drawn % most;
    }
  };
  return {
    below,
    belowLarge(most) {
      const bits = most.toString(2).length;
      for (;;) {
        let drawn = 0n;
        for (let i = 0; i < bits; i += 32) drawn = (drawn << 32n) | BigInt(word());
        drawn &= (1n << BigInt(bits)) - 1n;
        if (drawn < most) return drawn;
      }
    },
  };
}

/** The operating system's. */
export const systemChance = (): Chance => chanceFrom((words) => void randomFillSync(words));

/** True with the chance exp(-a/b), for whole 0 <= a <= b (von Neumann). */
function withExpOf(a: number, b: number, chance: Chance): boolean {
  let n = 1;
  while (isBelow(a, b, n, chance)) n++;
  return n % 2 === 1;
}

/** True with the chance a/(b n). */
const isBelow = (a: number, b: number, n: number, chance: Chance): boolean =>
  b * n <= 2 ** 53 ? chance.below(b * n) < a : chance.belowLarge(BigInt(b) * BigInt(n)) < BigInt(a);

/**
 * An integer k with the chance exp(-k^2 / (2 s^2)) over the sum of all such: the discrete Gaussian
 * of deviation s, exactly, by comparing integers alone (Karney 2016, Sampling Exactly from the
 * Normal Distribution, algorithm D).
 * @param s a whole number from 1 to 2^24
 */
export function discreteGaussian(s: number, chance: Chance): number {
  for (;;) {
    let k = 0;
    while (withExpOf(1, 2, chance)) k++;
    let kept = true;
    for (let i = k * (k - 1); kept && i > 0; i--) kept = withExpOf(1, 2, chance);
    if (!kept) continue;
    const negative = chance.below(2) === 0;
    const j = chance.below(s);
    if (k === 0 && j === 0 && negative) continue;
    // exp(-x(2k + x)/2) with x = j/s, in k + 1 factors whose exponents are below 1.
    for (let i = 0; kept && i <= k; i++)
      kept = withExpOf(j * (2 * k * s + j), s * s * (2 * k + 2), chance);
    if (kept) return negative ? -(k * s + j) : k * s + j;
  }
}
