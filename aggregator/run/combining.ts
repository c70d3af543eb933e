import type { Algorithm, NamedNumbers } from "../../runtime/algorithms/algorithm.js";
import type { Codec } from "../../runtime/codecs/codec.js";
import { ConfigError } from "../../runtime/errors.js";
import { leastUpdates, streamingOf, type RuleSettings } from "../aggregation/gathering.js";
import { ruleNamed } from "../aggregation/rules/built-in.js";
import { mean } from "../aggregation/rules/mean.js";
import type { Rule } from "../aggregation/rules/rule.js";
import type { AggregatorSettings } from "../settings.js";
import { keepsSent } from "./client-state.js";

/** How the updates of a run are combined, and what that asks of its rounds. */
export interface Combining {
  readonly rule: RuleSettings;
  /** The fewest updates with which a round may be committed. */
  readonly least: number;
  /** The most updates of a round for which there is memory. */
  readonly most: number;
  /** What the run can bear, in a sentence. */
  readonly bears: string;
}

/**
 * The rule that the settings ask for.
 * @param rowBytes of an update's numbers in memory
 * @throws ConfigError `settings` for an unknown rule, a number that it does not have or take, for
 * rounds that may be too small for it or too large for the memory, or where it does not go with
 * what else is set; `client-state` of an algorithm whose server keeps the sum of its clients' states
 */
export function combiningOf(
  settings: AggregatorSettings,
  { name, client }: Algorithm,
  codec: Codec,
  rowBytes: number,
): Combining {
  const { hostile: given, bucket, seed } = settings;
  const rule = ruleNamed(settings.aggregate);
  const numbers = numbersOf(rule, settings.aggregateSettings);
  const hostile = given ?? 0;
  const combined: RuleSettings = { rule: rule.name, hostile, numbers, bucket, seed };
  const wrong = (label: string, expected: string, got: unknown): never => {
    throw new ConfigError("settings", `"${label}" expected ${expected}, got ${String(got)}`);
  };
  if (rule.needsHostile && given === undefined)
    wrong("hostile", `how many updates of a round may be hostile, for ${rule.name}`, "nothing");
  if (rule.least(hostile, numbers) === Infinity)
    wrong("hostile", `0 for ${rule.name}, which bears none`, hostile);
  const usual = smallestRound(settings);
  const bears = bearsOf(rule, combined, usual);
  if (rule === mean) {
    if (bucket > 1)
      wrong("bucket", "another rule than the mean, which buckets do not change", bucket);
    return { rule: combined, least: 1, most: Infinity, bears };
  }
  if (keepsSent(client))
    throw new ConfigError(
      "client-state",
      `"aggregate" expected mean for ${name}, whose server keeps the sum of its clients' states and so what is hostile in it, got ${rule.name}`,
    );
  if (codec.coarse === true)
    wrong(
      "codec",
      `float32, float16, bfloat16 or int8 beside ${rule.name}, for of what ${codec.name} leaves out a rule sees zeros`,
      codec.name,
    );
  if (settings.clipUpdateNorm > 0)
    wrong(
      "clipUpdateNorm",
      `0 beside ${rule.name} (norm-clip is a rule too)`,
      settings.clipUpdateNorm,
    );
  const streams = streamingOf(rule, combined) !== undefined;
  if (settings.mode === "buffered" && !streams)
    wrong(
      "aggregate",
      "mean, or centred-clipping or norm-clip with a radius, for buffered rounds, which the fastest clients fill",
      rule.name,
    );
  const needs = (change: Partial<RuleSettings> = {}) =>
    leastUpdates(rule, { ...combined, ...change });
  const least = needs();
  const rounds = `rounds that may be committed with ${usual} updates (minimum times quorum)`;
  const condition = conditionOf(rule, combined);
  if (usual < least && needs({ numbers: rule.defaults }) <= usual)
    wrong(
      "aggregateSettings",
      `numbers of ${rule.name} for ${rounds}`,
      `${textOf(numbers)}, with which ${hostile} hostile need ${least} (${condition})`,
    );
  if (usual < needs({ hostile: 0 }))
    wrong("aggregate", `a rule for ${rounds}`, `${rule.name}, which needs ${least} (${condition})`);
  if (bucket > 1 && usual <= bucket)
    wrong(
      "bucket",
      `fewer than the ${usual} updates with which a round may be committed (minimum times quorum), which would all be in one`,
      bucket,
    );
  if (usual < least)
    wrong(
      "hostile",
      `at most ${mostHostile(rule, combined, usual)} for ${rule.name} where a round may be committed with ${usual} updates (minimum times quorum), since ${hostile} hostile need ${least} (${condition})`,
      hostile,
    );
  const most = streams ? Infinity : Math.floor(settings.aggregateBytes / rowBytes);
  const wanted = Math.max(settings.clientsPerRound ?? 0, settings.minimum, usual);
  if (most < wanted)
    wrong(
      "aggregateBytes",
      `at least ${wanted * rowBytes} bytes for ${wanted} updates of ${rowBytes} bytes, which ${rule.name} has to see together`,
      `${settings.aggregateBytes} bytes`,
    );
  return { rule: combined, least, most, bears };
}

function numbersOf(rule: Rule, given: AggregatorSettings["aggregateSettings"]) {
  const fail = (message: string): never => {
    throw new ConfigError("settings", message);
  };
  for (const name of Object.keys(given))
    if (!Object.hasOwn(rule.defaults, name))
      fail(
        `"aggregateSettings" expected ${Object.keys(rule.defaults).join(", ") || "none"} for ${rule.name}, got "${name}"`,
      );
  const numbers = { ...rule.defaults, ...given };
  const wrong = rule.refuses?.(numbers);
  return wrong === undefined ? numbers : fail(wrong);
}

const textOf = (numbers: NamedNumbers): string =>
  Object.entries(numbers)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

/** The fewest updates that a round is committed with, as far as the settings say. */
const smallestRound = ({ mode, minimum, quorum, buffer }: AggregatorSettings): number =>
  mode === "buffered" ? buffer : Math.ceil(quorum * minimum);

/** How many hostile updates the rule bears among so many. */
function mostHostile(rule: Rule, combined: RuleSettings, updates: number): number {
  let hostile = 0;
  while (leastUpdates(rule, { ...combined, hostile: hostile + 1 }) <= updates) hostile++;
  return hostile;
}

const conditionOf = ({ condition }: Rule, { bucket }: RuleSettings): string =>
  bucket === 1 ? condition : `${condition}, of means of ${bucket}`;

function bearsOf(rule: Rule, combined: RuleSettings, usual: number): string {
  const counts = rule.least(1, combined.numbers) !== rule.least(0, combined.numbers);
  if (!counts || rule.least(1, combined.numbers) === Infinity)
    return `Updates are combined by ${rule.name}. For ${rule.purpose}.`;
  const most = mostHostile(rule, combined, usual);
  const set = combined.hostile > 0 ? `; it is set to ${combined.hostile}` : "";
  return `Updates are combined by ${rule.name} (${conditionOf(rule, combined)}): of the ${usual} with which a round is committed at least, ${most === 0 ? "none" : `up to ${most}`} may be hostile${set}.`;
}
