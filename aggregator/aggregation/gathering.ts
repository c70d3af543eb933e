import type { Fold, NamedNumbers, ServerHalf } from "../../runtime/algorithms/algorithm.js";
import { ConfigError } from "../../runtime/errors.js";
import type { Vectors } from "../../runtime/tensors/blob.js";
import type { Quantiser } from "../../runtime/secure/quantise.js";
import { random } from "../../runtime/tensors/random.js";
import type { Arithmetic } from "./arithmetic.js";
import { addInSteps, clippedToGrid, gridFor, withNoise, type Protection } from "./private-sum.js";
import { inBuckets, leastFor } from "./bucketing.js";
import { clipped } from "./clip.js";
import { shareWithin } from "./clipped-mean.js";
import { addToFold, emptyFold, type RoundFold } from "./exact-sum.js";
import { ruleNamed } from "./rules/built-in.js";
import type { Rule, Streaming } from "./rules/rule.js";
import type { Following } from "./arrivals.js";
import { asVector, type ArrivedVector } from "./numbers.js";
import { contributionOf, domainOf, foldFor } from "./weighted-mean.js";

/** How a run's updates are combined. */
export interface RuleSettings {
  readonly rule: string;
  /** How many updates of a round may be hostile. */
  readonly hostile: number;
  /** All of the rule's own numbers. */
  readonly numbers: NamedNumbers;
  /** Updates whose mean counts as one; 1 for each by itself. */
  readonly bucket: number;
  /** The run's, for the buckets. */
  readonly seed: string;
  /** Where the sum is to be private. */
  readonly protection?: Protection;
}

/** What a round may hold. */
export interface RoundLimits {
  readonly round: number;
  readonly attempt: number;
  /** The most updates, and the most samples that one may have: they decide the grid. */
  readonly updates: number;
  readonly samples: number;
  /** The most commits that one may be behind. */
  readonly staleness: number;
  /** How its updates became whole steps, where they are masked. */
  readonly quantiser?: Quantiser | undefined;
  /** How the round is trained, where vectors of its updates are computed here. */
  readonly following?: Following | undefined;
}

/** An update that is gathered. */
export interface GatheredUpdate {
  readonly client: string;
  readonly sha256: string;
  readonly vectors: Readonly<Record<string, ArrivedVector>>;
  /** As it came, where it is masked: then it has no vectors. */
  readonly bytes?: Uint8Array;
  /** Capped. */
  readonly samples: number;
  readonly staleness: number;
}

/** The updates of one round, until they are made one. */
export interface Gathering {
  /** What was added, where that merges with what another process has added. */
  readonly fold?: RoundFold;
  /** Gives the vectors' Euclidean norms, where they were taken on the way. */
  add(update: GatheredUpdate): Readonly<Record<string, number>> | undefined;
  /**
   * What an algorithm's `finish` is given, and the rule's outcome where the next round starts from
   * it. The same bits in whatever order the updates were added.
   * @throws ConfigError `rule` where the updates that came are fewer than the rule needs.
   */
  result(): { readonly fold: Fold; readonly centre?: Float64Array };
}

/** Whether a rule sees updates one by one, and how; nothing where they are kept to the end. */
export const streamingOf = (
  rule: Rule,
  { numbers, bucket }: Pick<RuleSettings, "numbers" | "bucket">,
): Streaming | undefined => (bucket === 1 ? rule.streams(numbers) : undefined);

/** The fewest updates of a round of which so many may be hostile. */
export const leastUpdates = (
  rule: Rule,
  { hostile, numbers, bucket }: Pick<RuleSettings, "hostile" | "numbers" | "bucket">,
): number => leastFor(rule.least(hostile, numbers), bucket);

/** @param centre the rule's outcome in the last committed round; zeros before the first */
export function openGathering(
  settings: RuleSettings,
  server: ServerHalf,
  /** Of every vector, and the run's limits to it. */
  form: { readonly size: number; readonly maxAbs: number; readonly clipUpdateNorm: number },
  limits: RoundLimits,
  centre: Float64Array,
  arithmetic: Arithmetic,
): Gathering {
  if (settings.protection !== undefined) return protectedSum(settings.protection, server, form);
  const rule = ruleNamed(settings.rule);
  const streaming = streamingOf(rule, settings);
  if (streaming === undefined) return together(rule, settings, server, limits, centre, arithmetic);
  return streaming.kind === "weighted"
    ? weighted(server, form, limits, arithmetic)
    : within(rule, settings, streaming.radius, server, form, limits, centre, arithmetic);
}

function weighted(
  server: ServerHalf,
  { clipUpdateNorm, ...form }: { size: number; maxAbs: number; clipUpdateNorm: number },
  limits: RoundLimits,
  arithmetic: Arithmetic,
): Gathering {
  const fold = emptyFold(domainOf(server, { ...form, ...limits }), arithmetic);
  return {
    fold,
    add({ client, sha256, vectors, samples, staleness }) {
      const counted =
        clipUpdateNorm === Infinity ? vectors : clipped(asVectors(vectors), clipUpdateNorm);
      const behind = { staleness, domain: fold.domain };
      const contribution = contributionOf(server, counted, samples, behind);
      addToFold(fold, client, sha256, contribution, arithmetic);
    },
    result: () => ({ fold: foldFor(fold) }),
  };
}

/** Every update with the same weight, clipped and on the noise's grid; noise once, at the end. */
function protectedSum(
  protection: Protection,
  server: ServerHalf,
  { size }: { readonly size: number },
): Gathering {
  const names = Object.keys(server.folds);
  const grid = gridFor(protection);
  const sums = Object.fromEntries(names.map((name) => [name, new Float64Array(size)]));
  const members = new Set<string>();
  return {
    add({ client, vectors }) {
      if (members.has(client)) throw new Error(`"${client}" is in the round already`);
      members.add(client);
      addInSteps(sums, clippedToGrid(asVectors(vectors), protection.clip, grid));
    },
    result() {
      const { divisor } = protection;
      const weights = Object.fromEntries(names.map((name) => [name, divisor]));
      return { fold: { sums: withNoise(sums, protection), weights, count: divisor } };
    },
  };
}

/** Each update pulled to within the radius of the centre, added on the grid that this allows. */
function within(
  rule: Rule,
  settings: RuleSettings,
  radius: number,
  server: ServerHalf,
  { size }: { size: number },
  limits: RoundLimits,
  last: Float64Array,
  arithmetic: Arithmetic,
): Gathering {
  const uniform = { ...server, folds: allUniform(server) };
  const domain = domainOf(uniform, { size, ...limits, maxAbs: radius });
  const names = Object.keys(server.folds);
  // The sums, and after them the centre, which would otherwise be put there for every update.
  const memory = arithmetic.sums(size, 2 * names.length);
  const fold: RoundFold = emptyFold(domain, arithmetic, memory);
  const centres = Object.fromEntries(names.map((name, i) => [name, memory[names.length + i]]));
  if (rule.keepsCentre)
    for (const [name, part] of Object.entries(parts(last, server, size))) centres[name].set(part);
  return {
    fold,
    add({ client, sha256, vectors: given, staleness }) {
      const vectors = asVectors(given);
      const lengths = names.map((name) => arithmetic.squaredLengths(vectors[name], centres[name]));
      const distance = Math.sqrt(lengths.reduce((sum, each) => sum + each.distance, 0));
      const share = shareWithin(radius, distance);
      const behind = { staleness, domain };
      const contribution = contributionOf(uniform, vectors, 1, behind);
      const moved = Object.entries(contribution).map(([name, one]) => [
        name,
        { ...one, within: { centre: centres[name], share } },
      ]);
      addToFold(fold, client, sha256, Object.fromEntries(moved), arithmetic);
      return Object.fromEntries(names.map((name, i) => [name, Math.sqrt(lengths[i].norm)]));
    },
    result() {
      const { sums, weights, count } = foldFor(fold);
      requireEnough(rule, settings, count);
      const outcome = new Float64Array(last.length);
      const whole = Object.entries(sums).map(([name, sum], i) => {
        const from = centres[name];
        outcome.set(
          sum.map((x, k) => from[k] + x / count),
          i * size,
        );
        return [name, sum.map((x, k) => count * from[k] + x)];
      });
      return {
        fold: { sums: Object.fromEntries(whole), weights, count },
        centre: rule.keepsCentre ? outcome : undefined,
      };
    },
  };
}

/** Kept until all are there, and combined in the order of the clients' ids. */
function together(
  rule: Rule,
  settings: RuleSettings,
  server: ServerHalf,
  { round, attempt }: RoundLimits,
  centre: Float64Array,
  arithmetic: Arithmetic,
): Gathering {
  const { hostile, bucket, seed } = settings;
  const names = Object.keys(server.folds);
  const kept = new Map<string, { readonly row: Float32Array; readonly samples: number }>();
  return {
    add({ client, vectors, samples }) {
      if (kept.has(client)) throw new Error(`"${client}" is in the round already`);
      const row = new Float32Array(centre.length);
      names.forEach((name, i) =>
        row.set(asVector(vectors[name]), (i * centre.length) / names.length),
      );
      kept.set(client, { row, samples });
    },
    result() {
      const count = kept.size;
      requireEnough(rule, settings, count);
      const sorted = [...kept].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
      const rows = sorted.map(({ row }) => row);
      const weights = sorted.map(({ samples }) => samples);
      const gathered = {
        ...inBuckets({ rows, weights }, bucket, random(seed, "buckets", round, attempt)),
        ...{ hostile, settings: settings.numbers, centre, arithmetic },
      };
      const wrong = rule.refusesRound?.(gathered);
      if (wrong !== undefined) throw refusal(rule, settings, `others, for ${wrong}`);
      const { outcome } = rule.combine(gathered);
      kept.clear();
      const sums = parts(
        outcome.map((x) => count * x),
        server,
        outcome.length / names.length,
      );
      const uniform = Object.fromEntries(names.map((name) => [name, count]));
      return {
        fold: { sums, weights: uniform, count },
        centre: rule.keepsCentre ? outcome : undefined,
      };
    },
  };
}

function requireEnough(rule: Rule, settings: RuleSettings, count: number): void {
  const least = leastUpdates(rule, settings);
  if (count < least) throw refusal(rule, settings, `at least ${least} updates, got ${count}`);
}

const refusal = (
  { name, condition }: Rule,
  { hostile, bucket }: RuleSettings,
  expected: string,
): ConfigError =>
  new ConfigError(
    "rule",
    `"updates" of a round expected ${expected}: ${name} with ${hostile} hostile needs ${condition}${bucket === 1 ? "" : ` among means of ${bucket}`}`,
  );

const allUniform = ({ folds }: ServerHalf): ServerHalf["folds"] =>
  Object.fromEntries(Object.keys(folds).map((name) => [name, "uniform"]));

const asVectors = (vectors: Readonly<Record<string, ArrivedVector>>): Vectors =>
  Object.fromEntries(Object.entries(vectors).map(([name, one]) => [name, asVector(one)]));

/** A row as the vectors it is made of. */
const parts = (
  row: Float64Array,
  { folds }: ServerHalf,
  size: number,
): Record<string, Float64Array> =>
  Object.fromEntries(
    Object.keys(folds).map((name, i) => [name, row.subarray(i * size, (i + 1) * size)]),
  );
