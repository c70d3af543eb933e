import { rosterOf } from "../clients/clients.js";
import type { RunBase, RunContext } from "./context.js";
import type { EvaluationRecord } from "./evaluation-record.js";
import type { Ending } from "./options.js";
import type { Registry } from "./registry.js";
import { summaryOf } from "./summary.js";
import type { ThresholdPhase } from "./threshold.js";

/** The end of a run: its summary, and what `done` resolves with. */
export interface RunEnd {
  /** Resolves when the run is finished, stopped or failed; never rejects. */
  readonly done: Promise<Ending>;
  /** A model was evaluated: the summary names the last one. */
  evaluated(record: EvaluationRecord): void;
  /** All rounds are committed: clients may go once the last evaluations are in. */
  finished(): Promise<void>;
  stopped(reason: string, failed: boolean): void;
}

export function openEnd(
  context: Pick<RunBase, "definition" | "log"> &
    Pick<RunContext, "models" | "evaluations" | "folder" | "clients">,
  sendFinished: Registry["sendFinished"],
  threshold: ThresholdPhase,
): RunEnd {
  const { definition, log, models, evaluations, folder, clients } = context;
  const { settings, endsEarly } = definition;
  const all = endsEarly ?? "all rounds are done";
  let last: EvaluationRecord | undefined;
  let resolve!: (ending: Ending) => void;
  const done = new Promise<Ending>((resolved) => (resolve = resolved));

  async function summarise(end: string): Promise<void> {
    folder?.summary(() => {
      const { population } = rosterOf(clients.values(), settings);
      return summaryOf(settings, models, population, last, definition.metrics.headline, end);
    });
    await folder?.written();
  }

  const endWith = (reason: Ending["reason"], message: string): void =>
    resolve({ reason, message, rounds: models.round, model: models.whole(models.current).bytes });

  return {
    done,
    evaluated: (record) => void (last = record),
    async finished() {
      await evaluations.idle();
      await threshold.take();
      await summarise(`${all[0].toUpperCase()}${all.slice(1)}.`);
      await sendFinished();
      log.info({ rounds: models.round }, "the run is finished");
      endWith("finished", all);
    },
    stopped(reason, failed) {
      evaluations.cut();
      log.info({ committed: models.round }, `the run stops: ${reason}`);
      void summarise(`Stopped: ${reason}.`).then(() =>
        endWith(failed ? "failed" : "stopped", reason),
      );
    },
  };
}
