import * as v from "valibot";
import { readSafetensors, writeSafetensors } from "../../runtime/tensors/safetensors.js";
import { ModelError } from "../../runtime/errors.js";
import { plain, type Arithmetic } from "./arithmetic.js";
import { asVector, countOf, type ArrivedVector } from "./numbers.js";

/**
 * The sum of a round's updates as a value: it grows by one update at a time, merges with another
 * fold of the same round, and goes through bytes. The same updates give the same bits in any order
 * and in any tree of merges, because every number is first rounded to one common grid, on which
 * float64 additions are exact (reproducible summation by pre-rounding, Demmel and Nguyen 2013,
 * "Fast Reproducible Floating-Point Summation").
 */
export interface RoundFold {
  readonly domain: Domain;
  /**
   * For each vector the sum of weight (in parts) times value, in steps of `gridOf(domain, vector)`.
   */
  readonly sums: Readonly<Record<string, Float64Array>>;
  /** For each vector the sum of the whole weights. */
  readonly weights: Record<string, number>;
  /** Who is in it: client id -> SHA-256 of its update. */
  readonly members: Map<string, string>;
  /** The kernels that folded. */
  readonly build: string;
}

/** What a fold may hold; it decides the grid, so only folds of the same domain merge. */
export interface Domain {
  /** Numbers per vector. */
  readonly size: number;
  /** The most updates that may be folded. */
  readonly maxUpdates: number;
  /** The largest size of a value. */
  readonly maxAbs: number;
  /** The largest weight, by vector: an integer below 2^29. */
  readonly maxWeight: Readonly<Record<string, number>>;
  /**
   * Into how many equal parts a weight is divided, by vector, so that an update can be added with a
   * part of its weight: a power of two, 1 where not given. The sums are then in units of one part.
   */
  readonly parts?: Readonly<Record<string, number>>;
}

/**
 * What one client adds: each vector with its weight, and how many parts of it the values get (all,
 * where not given).
 */
export type Contribution = Readonly<
  Record<
    string,
    {
      readonly values: ArrivedVector;
      readonly weight: number;
      readonly parts?: number;
      /** Only this share of what lies between the values and a centre is added. */
      readonly within?: { readonly centre: Float64Array; readonly share: number };
    }
  >
>;

/** Into how many parts a weight is divided. */
export const partsOf = ({ parts }: Domain, vector: string): number => parts?.[vector] ?? 1;

const fail = (message: string): never => {
  throw new ModelError("fold", message);
};

/**
 * The step to which `weight * value` is rounded: so fine that no sum of the domain leaves 2^53
 * steps.
 */
export function gridOf(domain: Domain, vector: string): number {
  const largest =
    domain.maxUpdates * domain.maxWeight[vector] * partsOf(domain, vector) * domain.maxAbs;
  let exponent = Math.ceil(Math.log2(largest));
  if (2 ** exponent < largest) exponent++;
  return 2 ** (exponent - 51);
}

/** @throws ModelError `fold` for a domain that no grid serves. */
function requireDomain(domain: Domain): void {
  const { maxUpdates, maxAbs, maxWeight } = domain;
  if (!(Number.isSafeInteger(maxUpdates) && maxUpdates >= 1))
    fail(`"maxUpdates" expected a positive integer, got ${maxUpdates}`);
  if (!(maxAbs > 0 && maxAbs < Infinity))
    fail(`"maxAbs" expected a positive number, got ${maxAbs}`);
  for (const [vector, weight] of Object.entries(maxWeight)) {
    if (!(Number.isSafeInteger(weight) && weight >= 1 && weight < 2 ** 29))
      fail(`"maxWeight.${vector}" expected an integer from 1 to 2^29 - 1, got ${weight}`);
    const parts = partsOf(domain, vector);
    if (!(Number.isInteger(Math.log2(parts)) && weight * parts < 2 ** 29))
      fail(
        `"parts.${vector}" expected a power of two below 2^29 over the largest weight, got ${parts}`,
      );
  }
}

/**
 * @param memory zeros of the arithmetic's, a vector for each sum; taken where not given
 * @throws ModelError `fold` for a domain that no grid serves.
 */
export function emptyFold(
  domain: Domain,
  arithmetic: Arithmetic = plain,
  memory?: readonly Float64Array[],
): RoundFold {
  requireDomain(domain);
  const vectors = Object.keys(domain.maxWeight);
  const zeros = memory ?? arithmetic.sums(domain.size, vectors.length);
  return {
    domain,
    sums: Object.fromEntries(vectors.map((vector, i) => [vector, zeros[i]])),
    weights: Object.fromEntries(vectors.map((vector) => [vector, 0])),
    members: new Map(),
    build: arithmetic.build,
  };
}

/**
 * Adds one client's update, in place. The values must have been looked at
 * (`arithmetic.outOfRange`): a sum cannot be undone.
 * @throws ModelError `fold`, with nothing changed, where the client is in already, the fold is
 * full, a vector is missing or of another length, or a weight is no integer from 1 to the largest.
 */
export function addToFold(
  fold: RoundFold,
  client: string,
  hash: string,
  contribution: Contribution,
  arithmetic: Arithmetic = plain,
): void {
  const { domain, members } = fold;
  if (members.has(client)) fail(`"${client}" is in the fold already`);
  if (members.size >= domain.maxUpdates)
    fail(`"members" expected at most ${domain.maxUpdates}, got one more`);
  for (const vector of Object.keys(fold.sums)) {
    const given = contribution[vector];
    const length = given && countOf(given.values);
    if (length !== domain.size)
      fail(`"${vector}" expected ${domain.size} numbers, got ${length ?? "none"}`);
    const most = domain.maxWeight[vector];
    if (!(Number.isSafeInteger(given.weight) && given.weight >= 1) || given.weight > most)
      fail(`"weight" expected an integer from 1 to ${most}, got ${given.weight}`);
    const all = partsOf(domain, vector);
    const { parts = all } = given;
    if (!(Number.isSafeInteger(parts) && parts >= 1 && parts <= all))
      fail(`"parts" expected an integer from 1 to ${all}, got ${parts}`);
  }
  for (const [vector, sum] of Object.entries(fold.sums)) {
    const { values, weight, parts, within } = contribution[vector];
    const factor = weight * (parts ?? partsOf(domain, vector));
    const c = 1.5 * 2 ** 52 * gridOf(domain, vector);
    if (within !== undefined)
      arithmetic.foldCentred(sum, asVector(values), within.centre, factor * within.share, c);
    else if (values instanceof Float32Array) arithmetic.fold(sum, values, factor, c);
    else arithmetic.foldBlocks(sum, values, factor, c);
    fold.weights[vector] += weight;
  }
  members.set(client, hash);
}

/**
 * @throws ModelError `fold` where the domains or kernels of two folds differ, a member is in both,
 * or together they are too many.
 */
export function requireMergeable({ domain, members, build }: RoundFold, other: RoundFold): void {
  if (textOf(domain) !== textOf(other.domain))
    fail(`"domain" expected ${textOf(domain)}, got ${textOf(other.domain)}`);
  if (build !== other.build) fail(`"build" expected ${build}, got ${other.build}`);
  for (const client of other.members.keys())
    if (members.has(client)) fail(`"${client}" is in both folds`);
  const together = members.size + other.members.size;
  if (together > domain.maxUpdates)
    fail(`"members" expected at most ${domain.maxUpdates}, got ${together}`);
}

/**
 * Adds another fold of the same round, in place.
 * @throws ModelError `fold`, with nothing changed, where they do not merge: `requireMergeable`
 */
export function mergeInto(fold: RoundFold, other: RoundFold): void {
  requireMergeable(fold, other);
  for (const [vector, sum] of Object.entries(fold.sums)) {
    const added = other.sums[vector];
    for (let i = 0; i < sum.length; i++) sum[i] += added[i];
    fold.weights[vector] += other.weights[vector];
  }
  for (const [client, hash] of other.members) fold.members.set(client, hash);
}

const textOf = (domain: Domain): string => {
  const { size, maxUpdates, maxAbs, maxWeight, parts } = domain;
  const sorted = (record: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(record).sort(byName));
  return JSON.stringify({
    size,
    maxUpdates,
    maxAbs,
    maxWeight: sorted(maxWeight),
    parts: parts && sorted(parts),
  });
};

const byName = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : 1);

const number = v.pipe(v.number(), v.finite());
const Head = v.object({
  domain: v.object({
    size: v.pipe(number, v.safeInteger(), v.minValue(0)),
    maxUpdates: number,
    maxAbs: number,
    maxWeight: v.record(v.string(), number),
    parts: v.optional(v.record(v.string(), number)),
  }),
  weights: v.record(v.string(), number),
  members: v.record(v.string(), v.string()),
  build: v.string(),
});

/** A safetensors file of the sums (float64); the same fold always gives the same bytes. */
export function foldToBytes(fold: RoundFold): Uint8Array {
  const head = {
    domain: JSON.parse(textOf(fold.domain)),
    weights: Object.fromEntries(Object.entries(fold.weights).sort(byName)),
    members: Object.fromEntries([...fold.members].sort(byName)),
    build: fold.build,
  };
  return writeSafetensors(
    Object.entries(fold.sums)
      .sort(byName)
      .map(([name, data]) => ({ name, shape: [data.length], data })),
    { fold: JSON.stringify(head) },
  );
}

/**
 * The sums are views of the bytes, where these begin at a multiple of eight in their memory.
 * @throws ModelError `fold` or `safetensors` where the bytes are not those of a fold.
 */
export function foldFromBytes(bytes: Uint8Array): RoundFold {
  const { tensors, metadata } = readSafetensors(bytes);
  let json: unknown;
  try {
    json = JSON.parse(metadata["fold"] ?? "");
  } catch {
    fail(`"fold" expected JSON in the file's metadata, got something else`);
  }
  const head = v.safeParse(Head, json);
  if (!head.success) return fail(`"fold" expected a fold's head, got: ${head.issues[0].message}`);
  const { domain, weights, members, build } = head.output;
  requireDomain(domain);
  const sums: Record<string, Float64Array> = {};
  for (const vector of Object.keys(domain.maxWeight)) {
    const data = tensors.get(vector)?.data;
    if (!(data instanceof Float64Array) || data.length !== domain.size)
      return fail(
        `"${vector}" expected ${domain.size} float64 numbers, got ${data?.length ?? "none"}`,
      );
    if (!(vector in weights)) fail(`"weights.${vector}" expected a number`);
    sums[vector] = data;
  }
  return { domain, sums, weights, members: new Map(Object.entries(members)), build };
}
