import type { Dataset } from "../runtime/data/dataset.js";

/** What a hostile client does, so that a user can see a rule hold before it has to. */
export interface Attack {
  readonly name: string;
  /** How hard; the attack's usual strength where not given. */
  readonly strength: number;
  /**
   * What hostile members send who know all honest updates of the round. Without it they send what
   * they have trained.
   */
  readonly forge?: (round: AttackedRound) => Float32Array;
  /** The data that they train on. */
  readonly poison?: (dataset: Dataset) => Dataset;
}

export interface AttackedRound {
  /** Of the same order in each run of the same seed: it decides the last bits. At least one. */
  readonly honest: readonly Float32Array[];
  /** How many send the forged update. */
  readonly hostile: number;
  readonly strength: number;
}

interface Known {
  /** The usual strength; undefined where it follows from the round, or there is none. */
  readonly strength?: number;
  readonly forge?: Attack["forge"];
  readonly poison?: Attack["poison"];
}

const times =
  (sign: number): NonNullable<Attack["forge"]> =>
  ({ honest, strength }) => {
    const { mean } = statisticsOf(honest);
    return Float32Array.from(mean, (x) => sign * strength * x);
  };

const KNOWN: Readonly<Record<string, Known>> = {
  none: {},
  /** Backwards, and far. */
  "sign-flip": { strength: 4, forge: times(-1) },
  /**
   * A little beside the mean, where honest updates lie too (Baruch et al. 2019, arXiv:1902.06156):
   * by so many deviations as are just needed to have a majority on its side.
   */
  alie: {
    forge({ honest, hostile, strength }) {
      const { mean, deviation } = statisticsOf(honest);
      const z = strength || alieStrength(honest.length + hostile, hostile);
      return Float32Array.from(mean, (x, i) => x - z * deviation[i]);
    },
  },
  /** Backwards, and small enough to hide (Xie et al. 2020, arXiv:1903.03936). */
  "inner-product": { strength: 0.5, forge: times(-1) },
  /** The same large number everywhere. */
  huge: {
    strength: 500,
    forge: ({ honest, strength }) => new Float32Array(honest[0].length).fill(strength),
  },
  /** Trains honestly on labels that are turned around. */
  "label-flip": {
    poison: (dataset) => ({
      ...dataset,
      labels: dataset.labels.map((label) => dataset.classes.length - 1 - label),
    }),
  },
};

export const ATTACKS: readonly string[] = Object.keys(KNOWN);

/** An attack by its name, with a strength where one is given (`inner-product:10`). */
export function attackNamed(text: string): Attack | undefined {
  const [name, given, ...more] = text.split(":");
  if (!Object.hasOwn(KNOWN, name) || more.length > 0) return undefined;
  const known = KNOWN[name];
  if (given === undefined) return { name, ...known, strength: known.strength ?? 0 };
  const strength = Number(given);
  // What is sent is float32.
  const takes = known.forge !== undefined && strength > 0 && Math.fround(strength) < Infinity;
  return takes ? { name, ...known, strength } : undefined;
}

/** Mean and deviation (divided by n) of each coordinate. */
function statisticsOf(rows: readonly Float32Array[]): {
  readonly mean: Float64Array;
  readonly deviation: Float64Array;
} {
  const mean = new Float64Array(rows[0].length);
  const deviation = new Float64Array(rows[0].length);
  for (const row of rows) for (let i = 0; i < row.length; i++) mean[i] += row[i] / rows.length;
  for (const row of rows)
    for (let i = 0; i < row.length; i++) deviation[i] += (row[i] - mean[i]) ** 2 / rows.length;
  return { mean, deviation: deviation.map(Math.sqrt) };
}

/**
 * ALIE's z for n members of whom f are hostile: s honest ones more than they make a majority, so z
 * is where s of the n - f honest updates lie beyond it.
 */
export function alieStrength(members: number, hostile: number): number {
  const more = Math.floor(members / 2) + 1 - hostile;
  const honest = members - hostile;
  return quantile(Math.min(0.999, Math.max(0.5, (honest - more) / honest)));
}

/** Where the standard normal distribution function is p; p from 0.001 to 0.999. */
function quantile(p: number): number {
  let [low, high] = [-8, 8];
  while (high - low > 1e-13) {
    const middle = (low + high) / 2;
    if (distribution(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The standard normal distribution function, by its series about 0. */
function distribution(x: number): number {
  let sum = x;
  for (let k = 3, term = x; Math.abs(term) > 1e-17; k += 2) sum += term *= (x * x) / k;
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}
