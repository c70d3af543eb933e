/**
 * Seeded random numbers. Every random choice of fedflat (initial weights, splits, shuffles,
 * selection, dropout, augmentation) draws from one of these, so that a seed repeats a run bit for
 * bit.
 */
export interface Random {
  /** Uniform in [0, 1), 32 bits of resolution. */
  next(): number;
  /** Uniform integer in [0, bound). */
  integer(bound: number): number;
  /** Standard normal (Marsaglia's polar method). */
  normal(): number;
  /** Gamma(shape, 1) (Marsaglia and Tsang 2000). */
  gamma(shape: number): number;
  /** Shuffles in place (Fisher-Yates) and returns the array. */
  shuffle<T extends { length: number; [index: number]: number }>(array: T): T;
  /** Where the generator stands: four 32-bit integers. */
  state(): RandomState;
  /** Continues from there, as the generator that gave the state would. */
  restore(state: RandomState): void;
}

export type RandomState = readonly [number, number, number, number];

/**
 * A generator for the parts, for example `random(seed, "round", 3, clientId)`: streams with
 * different parts are independent. The parts are hashed (128 bits, MurmurHash3-style mixing) into
 * the state of sfc32 (Chris Doty-Humphrey, PractRand).
 */
export function random(...parts: readonly (string | number)[]): Random {
  // a, b, c and counter, in a typed array: variables of a closure hold no numbers of 32 bits, so
  // that each step would allocate four.
  const at = Int32Array.from(seedOf(parts.join("\u0000")));
  const bits = (): number => {
    const b = at[1];
    const c = at[2];
    const t = (at[0] + b + at[3]) | 0;
    at[3]++;
    at[0] = b ^ (b >>> 9);
    at[1] = c + (c << 3);
    at[2] = ((c << 21) | (c >>> 11)) + t;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) bits();
  const next = () => bits() / 4294967296;
  const integer = (bound: number) => Math.floor(next() * bound);
  const normal = (): number => {
    for (;;) {
      const u = 2 * next() - 1;
      const v = 2 * next() - 1;
      const s = u * u + v * v;
      if (s > 0 && s < 1) return u * Math.sqrt((-2 * Math.log(s)) / s);
    }
  };
  const gamma = (shape: number): number => {
    if (shape < 1) {
      const u = 1 - next();
      return gamma(shape + 1) * Math.pow(u, 1 / shape);
    }
    const d = shape - 1 / 3;
    const k = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = normal();
      const v = Math.pow(1 + k * x, 3);
      if (v <= 0) continue;
      const u = 1 - next();
      if (Math.log(u) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
    }
  };
  return {
    next,
    integer,
    normal,
    gamma,
    shuffle(array) {
      for (let i = array.length - 1; i > 0; i--) {
        const j = integer(i + 1);
        const kept = array[i];
        array[i] = array[j];
        array[j] = kept;
      }
      return array;
    },
    state: () => [at[0], at[1], at[2], at[3]],
    restore: (state) => at.set(state),
  };
}

function seedOf(text: string): [number, number, number, number] {
  const h = [0x9e3779b9, 0x243f6a88, 0xb7e15162, 0xdeadbeef];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    for (let j = 0; j < 4; j++)
      h[j] = Math.imul(h[j] ^ Math.imul(code + j, 0xcc9e2d51), 0x1b873593 + 2 * j);
    h[0] ^= h[3] >>> 15;
  }
  for (let round = 0; round < 2; round++)
    for (let j = 0; j < 4; j++) {
      let x = h[j] ^ h[(j + 1) & 3];
      x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
      x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
      h[j] = (x ^ (x >>> 16)) | 0;
    }
  return [h[0], h[1], h[2], h[3]];
}
