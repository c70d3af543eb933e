import * as v from "valibot";
import { DEFAULT_CODEC } from "../runtime/codecs/built-in.js";
import { ConfigError } from "../runtime/errors.js";
import { describe } from "../runtime/protocol/messages.js";
import { between, whole } from "../runtime/protocol/numbers.js";
import { trainSettings } from "../runtime/protocol/settings.js";

const above0 = v.gtValue<number, 0, string>(0, "more than 0");
const share = v.pipe(between(0, 1), above0);
const milliseconds = (least: number, most?: number) =>
  v.pipe(whole(least, most), v.metadata({ unit: "milliseconds" }));
/** Milliseconds that a timer takes. */
const duration = milliseconds(1, 2 ** 31 - 1);
const bytes = (least: number) => v.pipe(whole(least), v.metadata({ unit: "bytes" }));

/** A setting for people: every command that holds a run has a flag for it, with this help. */
const inRuns = <const S extends v.GenericSchema>(schema: S, help: string) =>
  v.pipe(schema, v.metadata({ scope: "run", help } as const));

/** One that matters over a network: its flag is that of `serve` alone. */
const inServices = <const S extends v.GenericSchema>(schema: S, help: string) =>
  v.pipe(schema, v.metadata({ scope: "service", help } as const));

/**
 * Who takes part in rounds, how long anything may take, what an update may look like. Durations are
 * milliseconds here, and seconds where people set them.
 */
const roundSettings = {
  learningRateDecay: v.optional(
    inRuns(between(0, 1), "factor on the learning rate after each round"),
    0.998,
  ),
  /** `channels` if not given, for tables and series of models that bring no normalisation. */
  normalise: v.optional(
    inRuns(
      v.picklist(["channels", "none"]),
      "channels: before round 1 clients give mean and deviation of their inputs, by which the model scales them; none: inputs stay as they are (channels for tables and series, where the model brings no normalisation)",
    ),
  ),
  seed: v.optional(v.string(), "1"),
  rounds: v.optional(inRuns(whole(1), "number of rounds"), 20),
  mode: v.optional(
    inRuns(
      v.picklist(["synchronous", "buffered"]),
      "synchronous: a round waits for the clients it asked; buffered: for any --buffer updates, while others train on (FedBuff)",
    ),
    "synchronous",
  ),
  buffer: v.optional(inRuns(whole(1), "buffered: updates that make a round"), 10),
  concurrency: v.optional(inRuns(whole(1), "buffered: clients that train at once"), 30),
  maxStaleness: v.optional(
    inRuns(whole(0, 1000), "buffered: rounds that may have been committed since an update's model"),
    20,
  ),
  fraction: v.optional(inRuns(share, "share of the clients that train in a round"), 1),
  clientsPerRound: v.optional(
    inRuns(whole(1), "number of clients that train in a round, instead of --fraction"),
  ),
  bernoulli: v.optional(
    inRuns(v.boolean(), "each client joins a round by its own coin of probability --fraction"),
    false,
  ),
  gather: v.optional(
    inServices(whole(1), "clients to wait for before the first round (--minimum where not given)"),
  ),
  minimum: v.optional(inServices(whole(1), "fewest clients with which a round is opened"), 2),
  overSelection: v.optional(
    inServices(between(1, 10), "how many times more clients are asked than are needed"),
    1.3,
  ),
  /** How long more than `minimum` clients are awaited. */
  gatherDeadline: v.optional(duration, 600_000),
  /**
   * Of many devices one is always gone: were all needed, no round of theirs would ever be
   * committed.
   */
  quorum: v.optional(
    inServices(share, "share of the updates wanted without which a round is tried again"),
    0.8,
  ),
  deadline: v.optional(
    inServices(duration, "seconds that a round may take; buffered, a client"),
    600_000,
  ),
  /** Rest after an abandoned attempt. */
  pause: v.optional(duration, 5_000),
  absence: v.optional(
    inServices(duration, "seconds to wait for a client whose connection broke"),
    15_000,
  ),
  storageDeadline: v.optional(duration, 60_000),

  codec: v.optional(
    inRuns(
      v.pipe(v.string(), v.maxLength(64)),
      "how updates are sent: float32, float16, bfloat16, int8, and with --algorithm memory topk-int8, topk, randk or sign (docs/codecs.md)",
    ),
    DEFAULT_CODEC,
  ),
  modelCodec: v.optional(
    inRuns(
      v.picklist(["float32", "float16", "int8"]),
      "how models are sent to clients that train or evaluate; the model that is kept stays float32. int8: to those that hold one of the last three, the differences",
    ),
    "float32",
  ),
  /** The codec's own numbers. */
  codecSettings: v.optional(v.record(v.string(), between(-1e12, 1e12)), {}),

  maxSamples: v.optional(
    inServices(
      whole(1, 2 ** 28),
      "samples that a client counts with at most (4 times the median of the clients' where not given)",
    ),
  ),
  /** Largest size of a number in an update. */
  maxAbs: v.optional(v.pipe(between(0, 1e30), above0), 1024),
  maxNorm: v.optional(inServices(between(0, 1e30), "largest norm of an update; 0 for no limit"), 0),
  clipUpdateNorm: v.optional(
    inServices(between(0, 1e30), "norm to which a longer update is scaled down; 0 for none"),
    0,
  ),

  aggregate: v.optional(
    inRuns(
      v.string(),
      "rule that makes a round's updates one: mean for members who can be trusted; centred-clipping, rfa, median, trimmed-mean, multi-krum, krum or bulyan where some may be hostile; norm-clip, norm-filter (docs/robust.md says which bears what)",
    ),
    "mean",
  ),
  hostile: v.optional(inRuns(whole(0, 1e6), "updates of a round that may be hostile")),
  /** The rule's own numbers. */
  aggregateSettings: v.optional(
    v.record(v.string(), v.pipe(v.number(), v.finite("a finite number"))),
    {},
  ),
  bucket: v.optional(
    inRuns(whole(1, 1000), "updates, drawn by chance, whose mean counts as one for the rule"),
    1,
  ),
  aggregateBytes: v.optional(
    inRuns(
      bytes(1),
      "megabytes for the updates of a round, where the rule has to see them together",
    ),
    1_000_000_000,
  ),

  dpNoise: v.optional(
    inRuns(
      between(0.01, 1e6),
      "differential privacy: deviation of the noise on each round's sum, over --dp-clip (docs/privacy.md)",
    ),
  ),
  dpClip: v.optional(
    inRuns(
      v.pipe(between(0, 1e6), above0),
      "norm to which each update is clipped before it is summed, for --dp-noise",
    ),
  ),
  dpDelta: v.optional(
    inRuns(between(1e-10, 0.5), "delta of the epsilon that is told, for --dp-noise"),
    1e-5,
  ),
  dpBudget: v.optional(
    inRuns(
      v.pipe(between(0, 1000), above0),
      "epsilon that the run may spend: it ends before more would be spent",
    ),
  ),
  /** A number of the run's own: one of the round's would tell of its clients. */
  dpClients: v.optional(
    inRuns(
      whole(1, 1_000_000),
      "updates that a round with --dp-noise has at most, and by whose number its sum is divided however many came (the clients that the run waits for, or their --fraction, where not given)",
    ),
  ),
  unprotectedMetrics: v.optional(
    inRuns(
      v.boolean(),
      "with --dp-noise: show losses, norms and sample counts of clients all the same, which epsilon does not cover",
    ),
    false,
  ),

  secure: v.optional(
    inRuns(
      v.boolean(),
      "secure aggregation: clients mask their updates, and the aggregator learns the sum of at least two thirds of a round's, and none of them (docs/privacy.md)",
    ),
    false,
  ),
  secureRange: v.optional(
    inRuns(
      v.pipe(between(0, 1e6), above0),
      "with --secure: size to which each number of an update is clipped; a smaller one is finer",
    ),
    4,
  ),
  secureCorrupt: v.optional(
    inRuns(
      between(0, 0.5),
      "with --secure and more than 128 clients a round: share of them that may tell the aggregator what they know",
    ),
    0.1,
  ),
  secureDropout: v.optional(
    inRuns(
      between(0, 0.5),
      "with --secure and more than 128 clients a round: share of them that may leave after their training",
    ),
    0.1,
  ),
  secureDeadline: v.optional(
    inServices(duration, "with --secure: seconds for each phase after training"),
    60_000,
  ),

  evaluateEvery: v.optional(inRuns(whole(1), "evaluate the new model every so many rounds"), 1),
  evaluateFraction: v.optional(
    inRuns(between(0, 1), "share of the clients that evaluate it on what they held out"),
    1,
  ),
  evaluateDeadline: v.optional(duration, 120_000),

  threshold: v.optional(
    inRuns(
      v.pipe(between(0, 1), above0, v.ltValue(1)),
      "after the last round, have the model call an example an anomaly whose error is above this share of what clients held out, such as 0.99 (for models whose target is the input)",
    ),
  ),

  heartbeat: v.optional(milliseconds(100, 3_600_000), 20_000),
  helloDeadline: v.optional(duration, 10_000),
  /** Time for clients of a finished run to fetch its model and leave. */
  farewell: v.optional(duration, 10_000),
  /** Bytes on their way to or from one client without acknowledgement. */
  windowBytes: v.optional(bytes(1024), 256 * 1024),
  /** Never less than two updates. */
  budgetBytes: v.optional(
    inServices(
      bytes(1),
      "megabytes for updates on their way in; where lines are slow, more lets more clients send at a time",
    ),
    48_000_000,
  ),
  /**
   * Over so long the pace of an upload is measured; one that waits for another's room has it after
   * twice as long.
   */
  stall: v.optional(duration, 10_000),
  /** Bytes a second below which an upload counts as stalled. */
  minimumRate: v.optional(whole(0), 1024),
  maxClients: v.optional(
    inServices(
      whole(1, 10_000_000),
      "clients that the run remembers at most; more are not admitted",
    ),
    100_000,
  ),
  remember: v.optional(
    inServices(
      milliseconds(1),
      "seconds after which a client that is away is forgotten and counts no more (30 days)",
    ),
    30 * 24 * 3_600_000,
  ),
};

/** Every setting of a run, with bounds and defaults. */
export const runSettings = { ...trainSettings, ...roundSettings };
const schema = v.strictObject(runSettings);

export type AggregatorSettings = v.InferOutput<typeof schema>;
export type GivenSettings = v.InferInput<typeof schema>;

/**
 * The settings with their defaults. @throws ConfigError `settings` for an unknown name or a value
 * out of bounds.
 */
export function readAggregatorSettings(given: GivenSettings): AggregatorSettings {
  const result = v.safeParse(schema, given, { abortEarly: true });
  if (!result.success) throw new ConfigError("settings", describe("settings", result.issues[0]));
  return result.output;
}
