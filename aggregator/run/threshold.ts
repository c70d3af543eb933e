import { ERROR_BINS } from "../../runtime/models/metrics/sums.js";
import { lossCap } from "../clients/claims.js";
import { evaluators } from "../clients/clients.js";
import { takenBy, thresholdOf, type TakenThreshold } from "../clients/threshold.js";
import type { Blob, ThresholdRecord } from "../storage/ledger.js";
import type { RunContext } from "./context.js";
import { modelWith } from "./model-card.js";

/**
 * The threshold of anomalies, taken after the last round: clients evaluate its model on what they
 * held out, and what they say of its errors becomes the threshold in its card.
 */
export interface ThresholdPhase {
  /**
   * Takes it, where the run wants one and has no such one of its last model. A run that is being
   * stopped takes it after its resume.
   */
  take(): Promise<void>;
  /** What came of it, once it was asked for. */
  readonly taken: TakenThreshold | undefined;
}

export function openThreshold(
  context: Pick<
    RunContext,
    | "definition"
    | "log"
    | "tell"
    | "ledger"
    | "epoch"
    | "withRetry"
    | "models"
    | "evaluations"
    | "folder"
    | "clients"
    | "reducer"
  >,
  options: {
    /** The one that a restart found. */
    readonly before: ThresholdRecord | undefined;
    readonly isClosing: () => boolean;
  },
): ThresholdPhase {
  const { definition, log, tell, ledger, epoch, withRetry, models, evaluations, folder } = context;
  const { before, isClosing } = options;
  const { settings, metrics } = definition;
  const { threshold: quantile, minimum, maxSamples } = settings;

  let taken =
    before?.round === models.round && before.quantile === quantile
      ? takenBy(before, minimum)
      : undefined;
  const tellOf = (now: TakenThreshold): void => {
    taken = now;
    tell("threshold", now);
  };

  const keep = (record: ThresholdRecord): Promise<void> =>
    withRetry(async () => {
      const model = withThreshold(models.current, record);
      const forms = await context.reducer.forms(model.bytes);
      await ledger.keepThreshold(epoch, record);
      models.keep(models.round, model, forms);
      folder?.threshold(models.round, models.whole(model));
      log.info({ value: record.value, clients: record.members.length }, "a threshold is taken");
      tellOf(takenBy(record, minimum));
    });

  return {
    get taken() {
      return taken;
    },

    async take() {
      const { round } = models;
      if (quantile === undefined || isClosing() || taken?.record?.round === round) return;
      const answers = await evaluations.ask(
        round,
        models.current,
        evaluators(context.clients.values()),
      );
      // A stop cut them short: not all who are there had the time to answer.
      if (isClosing()) return;
      const losses = [...answers.values()].map(({ loss, count }) => (count > 0 ? loss / count : 0));
      const mostLoss = lossCap(losses);
      const histograms = new Map<string, readonly number[]>();
      for (const [client, { sums = [], count }] of answers) {
        const wrong = metrics.doubt(sums, count, mostLoss);
        if (wrong === undefined) histograms.set(client, sums.slice(-ERROR_BINS));
        else {
          const reason = `"evaluation.sums" expected ${wrong}`;
          log.warn({ client: client.slice(0, 32), round }, `errors are doubtful: ${reason}`);
          tell("doubted", { client, round, reason });
        }
      }
      const found = thresholdOf(histograms, quantile, maxSamples);
      const clients = (found?.members.length ?? 0) + (found?.leftOut.length ?? 0);
      if (found === undefined || clients < minimum) {
        log.warn({ clients, minimum }, "there is no threshold: too few clients gave errors");
        return tellOf({ clients, minimum });
      }
      await keep({ round, quantile, ...found });
    },
  };
}

/** The same model whose card says above which error an example is out of the ordinary. */
export const withThreshold = (model: Blob, { quantile, value }: ThresholdRecord): Blob =>
  modelWith(model, { threshold: { quantile, value } });
