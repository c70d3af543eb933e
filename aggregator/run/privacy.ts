import type { Algorithm } from "../../runtime/algorithms/algorithm.js";
import type { Codec } from "../../runtime/codecs/codec.js";
import { ConfigError, FedflatError } from "../../runtime/errors.js";
import type { Protection } from "../aggregation/private-sum.js";
import { epsilonOf } from "../privacy/accountant.js";
import type { AggregatorSettings } from "../settings.js";
import type { Charge } from "../storage/ledger.js";
import { keepsSent } from "./client-state.js";

/** How a run is differentially private: what it publishes, for all data of one client. */
export interface Privacy {
  readonly protection: Protection;
  readonly delta: number;
  /** The most epsilon that may be spent. */
  readonly budget: number;
  /** What clients say of themselves is kept from page, log and metrics. */
  readonly discreet: boolean;
  /** The run's settings as they have to be beside it. */
  readonly settings: Pick<AggregatorSettings, "evaluateFraction">;
}

/**
 * The privacy that the settings ask for, if they do.
 * @throws ConfigError `settings`, or `client-state` of an algorithm whose clients keep state: for
 * what does not go with it
 */
export function privacyOf(
  settings: AggregatorSettings,
  { name, client }: Algorithm,
  codec: Codec,
  takesStatistics: boolean,
): Privacy | undefined {
  const { dpNoise: noise, dpClip: clip, dpDelta: delta, dpBudget, dpClients } = settings;
  const wrong = (label: string, expected: string, got: unknown, code = "settings"): never => {
    throw new ConfigError(code, `"${label}" expected ${expected}, got ${String(got)}`);
  };
  if (noise === undefined) {
    for (const [label, value] of Object.entries({ dpClip: clip, dpBudget, dpClients }))
      if (value !== undefined) wrong(label, "dpNoise beside it", value);
    if (settings.unprotectedMetrics) wrong("unprotectedMetrics", "dpNoise beside it", true);
    return undefined;
  }
  if (clip === undefined)
    return wrong("dpClip", "the norm to which updates are clipped, beside dpNoise", "nothing");
  if (keepsSent(client))
    wrong(
      "dpNoise",
      `an algorithm whose clients keep no state: with ${name} the server's sum over all rounds has to be that of its clients' states, and noise would pile up in it`,
      noise,
      "client-state",
    );
  if (settings.aggregate !== "mean")
    wrong("aggregate", "mean beside dpNoise, whose sum alone is protected", settings.aggregate);
  if (settings.mode !== "synchronous")
    wrong(
      "mode",
      "synchronous beside dpNoise, which gives every update the same weight",
      settings.mode,
    );
  if (codec.coarse === true)
    wrong("codec", "one that leaves no numbers out beside dpNoise", codec.name);
  if (settings.clipUpdateNorm > 0)
    wrong("clipUpdateNorm", "0 beside dpNoise: dpClip clips", settings.clipUpdateNorm);
  if (settings.maxNorm > 0)
    wrong(
      "maxNorm",
      "0 beside dpNoise: dpClip clips, and what is refused for its norm would tell of it",
      settings.maxNorm,
    );
  if (takesStatistics)
    wrong(
      "normalise",
      "none beside dpNoise: statistics of the clients' inputs would be published without noise",
      "channels",
    );
  const { unprotectedMetrics, fraction, gather, minimum, clientsPerRound } = settings;
  const usual = clientsPerRound ?? Math.max(minimum, Math.round(fraction * (gather ?? minimum)));
  const budget = dpBudget ?? Infinity;
  const first = epsilonOf([{ noise, sampling: 1, rounds: 1 }], delta);
  if (first > budget)
    wrong("dpBudget", `at least ${upward(first)} for the first round with noise ${noise}`, budget);
  return {
    protection: { noise, clip, divisor: dpClients ?? usual },
    delta,
    budget,
    discreet: !unprotectedMetrics,
    settings: { evaluateFraction: unprotectedMetrics ? settings.evaluateFraction : 0 },
  };
}

/** What is told of the privacy spent. */
export interface Spent {
  readonly epsilon: number;
  readonly delta: number;
}

/** The account of one run. */
export interface Account {
  readonly spent: Spent;
  /** How many of so many more rounds may still be charged. */
  affordable(wanted: number): number;
  /** What one more round is charged, of this attempt. */
  chargeFor(round: number, attempt: number): Charge;
  /** A charge stands in the journal. @throws FedflatError `privacy` where the budget is passed */
  charged(charge: Charge): void;
  /** What is protected, from whom, and what it has cost: a sentence. */
  sentence(): string;
}

export function openAccount(privacy: Privacy, before: readonly Charge[]): Account {
  const { protection, delta, budget } = privacy;
  const { noise, clip, divisor } = protection;
  // Every client that is online may be in a round, so nobody is hidden by chance.
  const sampling = 1;
  const charges = [...before];
  const after = (more: number): number =>
    epsilonOf(
      [...charges.map((charge) => ({ ...charge, rounds: 1 })), { noise, sampling, rounds: more }],
      delta,
    );
  let epsilon = after(0);
  return {
    get spent() {
      return { epsilon, delta };
    },
    affordable(wanted) {
      if (budget === Infinity) return wanted;
      let [least, most] = [0, 1];
      while (most <= wanted && after(most) <= budget) [least, most] = [most, 2 * most];
      most = Math.min(most, wanted + 1);
      while (most - least > 1) {
        const middle = Math.floor((least + most) / 2);
        if (after(middle) <= budget) least = middle;
        else most = middle;
      }
      return least;
    },
    chargeFor(round, attempt) {
      requireBudget(after(1), budget);
      return { round, attempt, noise, sampling };
    },
    charged(charge) {
      charges.push(charge);
      epsilon = after(0);
    },
    sentence: () =>
      `Models are published with differential privacy for each client: epsilon ${upward(epsilon)} so far at delta ${delta}${budget === Infinity ? "" : `, of ${budget}`} (noise ${noise} on updates clipped to ${clip}, divided by ${divisor}). The aggregator itself sees every update.`,
  };
}

function requireBudget(epsilon: number, budget: number): void {
  if (epsilon <= budget) return;
  throw new FedflatError(
    "privacy",
    `a further round would bring epsilon to ${upward(epsilon)}, beyond the budget of ${budget}`,
  );
}

/** With four digits behind the point, never less than it is. */
const upward = (epsilon: number): number => Math.ceil(epsilon * 10_000) / 10_000;
