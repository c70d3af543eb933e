import * as v from "valibot";
import { ConfigError } from "../runtime/errors.js";
import { describe } from "../runtime/protocol/messages.js";
import { between, trainSettings, whole } from "../runtime/protocol/settings.js";

const share = v.pipe(between(0, 1), v.gtValue(0));
const milliseconds = (least: number, most?: number) =>
  v.pipe(whole(least, most), v.metadata({ unit: "milliseconds" }));
/** Milliseconds that a timer takes. */
const duration = milliseconds(1, 2 ** 31 - 1);
const bytes = (least: number) => v.pipe(whole(least), v.metadata({ unit: "bytes" }));

/**
 * Who takes part in rounds, how long anything may take, what an update may look like. Durations are
 * milliseconds.
 */
const roundSettings = {
  /** Factor on the learning rate after each committed round. */
  learningRateDecay: v.optional(between(0, 1), 0.998),
  seed: v.optional(v.string(), "1"),
  rounds: v.optional(whole(1), 20),
  /**
   * `synchronous`: a round waits for those it asked. `buffered`: for any `buffer` updates
   * (rounds/buffered.ts).
   */
  mode: v.optional(v.picklist(["synchronous", "buffered"]), "synchronous"),
  /**
   * Buffered: updates in a round, clients at work at once, and rounds that an update's model may be
   * behind.
   */
  buffer: v.optional(whole(1), 10),
  concurrency: v.optional(whole(1), 30),
  maxStaleness: v.optional(whole(0, 1000), 20),
  /** Part of the eligible clients wanted in a round, or their number instead. */
  fraction: v.optional(share, 1),
  clientsPerRound: v.optional(whole(1)),
  minimum: v.optional(whole(1), 2),
  overSelection: v.optional(between(1, 10), 1.3),
  bernoulli: v.optional(v.boolean(), false),
  /** Clients awaited before the first round; `minimum` where not given. */
  gather: v.optional(whole(1)),
  /** How long more than `minimum` clients are awaited. */
  gatherDeadline: v.optional(duration, 600_000),
  /**
   * Part of the wanted updates without which a round is abandoned. Of many devices one is always
   * gone: were all needed, no round of theirs would ever be committed.
   */
  quorum: v.optional(share, 0.8),
  /** Of a round, from asking to closing; buffered, what each client has for its work. */
  deadline: v.optional(duration, 600_000),
  /** Rest after an abandoned attempt. */
  pause: v.optional(duration, 5_000),
  /** How long to wait for a client whose connection closed. */
  absence: v.optional(duration, 15_000),
  storageDeadline: v.optional(duration, 60_000),

  /** Samples that a client counts with at most; a multiple of the clients' median if not given. */
  maxSamples: v.optional(whole(1, 2 ** 28)),
  /** Largest size of a number in an update. */
  maxAbs: v.optional(v.pipe(between(0, 1e30), v.gtValue(0)), 1024),
  /** Largest norm of a vector in an update; 0 for no limit. */
  maxNorm: v.optional(between(0, 1e30), 0),
  /** Norm to which a longer vector of an update is scaled down before it is folded; 0 for none. */
  clipUpdateNorm: v.optional(between(0, 1e30), 0),

  /** Every so many rounds the new model is evaluated. */
  evaluateEvery: v.optional(whole(1), 1),
  /** Part of the eligible clients asked to evaluate it on their hold-out; 0 for none. */
  evaluateFraction: v.optional(between(0, 1), 1),
  evaluateDeadline: v.optional(duration, 120_000),

  heartbeat: v.optional(milliseconds(100, 3_600_000), 20_000),
  helloDeadline: v.optional(duration, 10_000),
  /** Time for clients of a finished run to fetch its model and leave. */
  farewell: v.optional(duration, 10_000),
  /** Bytes on their way to or from one client without acknowledgement. */
  windowBytes: v.optional(bytes(1024), 256 * 1024),
  /** Memory for updates on their way in, in bytes; never less than two updates. */
  budgetBytes: v.optional(bytes(1), 48_000_000),
  /**
   * Over so long the pace of an upload is measured; one that waits for another's room has it after
   * twice as long.
   */
  stall: v.optional(duration, 10_000),
  /** Bytes a second below which an upload counts as stalled. */
  minimumRate: v.optional(whole(0), 1024),
  /** Clients that the run remembers at most; more are not admitted. */
  maxClients: v.optional(whole(1, 10_000_000), 100_000),
  /** After how long away a client is forgotten: it no longer counts in m. */
  remember: v.optional(milliseconds(1), 30 * 24 * 3_600_000),
};

/** All that can be set about a run, with bounds and defaults. */
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
