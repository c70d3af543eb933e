import type { Algorithm } from "../../runtime/algorithms/algorithm.js";
import { DEFAULT_CODEC } from "../../runtime/codecs/built-in.js";
import { ConfigError } from "../../runtime/errors.js";
import { LEAST_MEMBERS, MOST_COMPLETE, thresholdOf } from "../../runtime/secure/graph.js";
import { stepsFor, type Quantiser } from "../../runtime/secure/quantise.js";
import type { SecureTerms } from "../../runtime/secure/terms.js";
import { mostSecure, ringOf, sizeOf, stayingIn } from "../rounds/ring.js";
import type { AggregatorSettings } from "../settings.js";
import type { AttemptRecord } from "../storage/ledger.js";

/**
 * Looks whether the settings go with secure aggregation, where they ask for it.
 * @throws ConfigError `settings`, or `client-state` of an algorithm whose clients keep state
 */
export function requireSecure(
  settings: AggregatorSettings,
  { name, client }: Algorithm,
  run: { readonly takesStatistics: boolean; readonly averages: boolean },
): void {
  if (!settings.secure) return;
  const wrong = (label: string, expected: string, got: unknown, code = "settings"): never => {
    throw new ConfigError(code, `"${label}" expected ${expected}, got ${String(got)}`);
  };
  if (client.state.length > 0)
    wrong(
      "algorithm",
      `one whose clients keep no state beside secure, which rounds updates to whole steps`,
      name,
      "client-state",
    );
  const { aggregate, mode, codec, modelCodec, maxNorm, clipUpdateNorm, dpNoise } = settings;
  const { clientsPerRound = LEAST_MEMBERS } = settings;
  if (clientsPerRound < LEAST_MEMBERS)
    wrong("clientsPerRound", `at least ${LEAST_MEMBERS} beside secure`, clientsPerRound);
  const most = mostSecure(settings);
  if (clientsPerRound > most)
    wrong(
      "clientsPerRound",
      `at most ${most} beside secure, where a ring cannot bear secureCorrupt ${settings.secureCorrupt} and secureDropout ${settings.secureDropout}`,
      clientsPerRound,
    );
  if (aggregate !== "mean")
    wrong("aggregate", "mean beside secure, whose aggregator sees no single update", aggregate);
  if (mode !== "synchronous")
    wrong("mode", "synchronous beside secure, whose clients mask their updates together", mode);
  if (codec !== DEFAULT_CODEC)
    wrong("codec", `${DEFAULT_CODEC} beside secure, which sends masked words of 32 bits`, codec);
  if (modelCodec !== "float32")
    wrong(
      "modelCodec",
      "float32 beside secure, whose clients have to see that all train from one model",
      modelCodec,
    );
  if (maxNorm > 0)
    wrong("maxNorm", "0 beside secure, whose aggregator cannot measure an update", maxNorm);
  if (clipUpdateNorm > 0)
    wrong(
      "clipUpdateNorm",
      "0 beside secure, whose aggregator cannot clip an update",
      clipUpdateNorm,
    );
  if (dpNoise !== undefined)
    wrong(
      "dpNoise",
      "nothing beside secure: the aggregator would have to clip updates that it does not see",
      dpNoise,
    );
  if (run.takesStatistics)
    wrong(
      "normalise",
      "none beside secure: statistics of inputs would show the aggregator each client's own",
      "channels",
    );
  if (run.averages)
    wrong(
      "batchNorm",
      "frozen or local beside secure: running values would show the aggregator each client's own",
      "average",
    );
}

/** How the updates of an attempt become whole steps. */
export const quantiserOf = (
  { secureRange }: AggregatorSettings,
  { server }: Algorithm,
  { goal, selected, maxSamples }: AttemptRecord,
): Quantiser => ({
  range: secureRange,
  steps: stepsFor(Math.min(goal, selected.length)),
  maxWeight: Object.values(server.folds).includes("samples") ? maxSamples : 1,
});

/** The terms of an attempt, the same text for all of its clients. */
export function termsText(
  settings: AggregatorSettings,
  algorithm: Algorithm,
  attempt: AttemptRecord,
  model: string,
  training: Readonly<Record<string, unknown>>,
): string {
  const terms: SecureTerms = {
    ...{ model, training },
    ...quantiserOf(settings, algorithm, attempt),
    clients: sizeOf(settings, attempt).fewest,
    ring: ringOf(settings, attempt),
  };
  return JSON.stringify(terms);
}

/** Who can see what, in a sentence. */
export function secureInWords(settings: AggregatorSettings): string {
  const { minimum, quorum } = settings;
  const fewest = (clients: number) => Math.max(LEAST_MEMBERS, Math.ceil(quorum * clients));
  const complete = thresholdOf(fewest(Math.min(minimum, MOST_COMPLETE)));
  const ring = stayingIn(settings, fewest(Math.max(minimum, MOST_COMPLETE + 1)));
  return `Updates are masked by the clients: the aggregator sees sums of at least ${Math.min(complete, ring)} of them, and no single one.`;
}

/** How a run's rounds go, as its journal has it: one that is resumed continues in the same way. */
export const kindOf = ({ mode, secure }: AggregatorSettings): string => (secure ? "secure" : mode);
