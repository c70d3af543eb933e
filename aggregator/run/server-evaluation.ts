import type { MetricReader } from "../../runtime/models/metrics/built-in.js";
import type { Log } from "../log.js";
import type { Blob } from "../storage/ledger.js";
import type { RunDefinition } from "./definition.js";
import type { AggregatorOptions } from "./options.js";
import { wholeFile } from "../storage/whole-model.js";
import { resultOf, type EvaluationResult, type Tested } from "./evaluation-record.js";

/** Models that may wait for the server's own evaluation before one is passed over. */
const WAITING = 8;

/** A model's result on the server's test data, if it is evaluated there. */
type EvaluateOnServer = (round: number, model: Blob) => Promise<EvaluationResult | undefined>;

/** What evaluates a round's model by its whole file. Nobody but clients can try personal layers. */
export const testOf = (
  { base, isPersonal }: Pick<RunDefinition, "base" | "isPersonal">,
  evaluate: AggregatorOptions["evaluate"],
): AggregatorOptions["evaluate"] =>
  evaluate === undefined || isPersonal
    ? undefined
    : (bytes, round) => evaluate(base ? wholeFile(bytes, base.bytes) : bytes, round);

/**
 * Evaluates models on the server's test data, one after the other. Where they come faster than
 * that, the oldest is passed over: the newest matters most, and the last of a run is always
 * evaluated.
 */
export function openServerEvaluation(
  test: (model: Uint8Array, round: number) => Promise<Tested>,
  metrics: MetricReader,
  log: Log,
): EvaluateOnServer {
  /** Models that wait, the oldest first. */
  const queue: {
    readonly round: number;
    readonly model: Blob;
    readonly resolve: (result: EvaluationResult | undefined) => void;
  }[] = [];
  let testing = false;

  async function testAll(): Promise<void> {
    testing = true;
    for (let next = queue.shift(); next !== undefined; next = queue.shift())
      try {
        const { sums, topEigenvalue, ...tested } = await test(next.model.bytes, next.round);
        next.resolve({
          ...resultOf(metrics, { ...tested, sums: sums && { values: sums, count: tested.count } }),
          ...(topEigenvalue !== undefined && { topEigenvalue }),
        });
      } catch (error) {
        log.error({ err: error, round: next.round }, "the evaluation failed");
        next.resolve(undefined);
      }
    testing = false;
  }

  return (round, model) =>
    new Promise((resolve) => {
      if (queue.length >= WAITING) {
        const oldest = queue.shift()!;
        log.warn({ round: oldest.round }, "evaluations are behind: this model is passed over");
        oldest.resolve(undefined);
      }
      queue.push({ round, model, resolve });
      if (!testing) void testAll();
    });
}
