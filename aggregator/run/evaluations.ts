import { serial } from "../../runtime/serial.js";
import type { Evaluation } from "../../runtime/training/local-round.js";
import type { Assignment } from "../clients/clients.js";
import type { Log } from "../log.js";
import type { Blob } from "../storage/ledger.js";
import { openClientEvaluation, type ClientEvaluationOptions } from "./client-evaluation.js";
import type { EvaluationRecord, Tested } from "./evaluation-record.js";
import { openServerEvaluation } from "./server-evaluation.js";

/** How good the committed models are: looked at after the commit, and never in a round's way. */
export interface Evaluations {
  /** Begins with a model, and asks some of these clients. */
  begin(round: number, model: Blob, ids: readonly string[]): void;
  /** What each of these clients says of a model; once everything begun has ended. */
  ask(round: number, model: Blob, ids: readonly string[]): Promise<ReadonlyMap<string, Evaluation>>;
  /** A client has reported, or given up. */
  answered(assignment: Assignment, evaluation: Evaluation | undefined): void;
  gone(client: string): void;
  /** Ends open evaluations with the answers that there are. */
  cut(): void;
  /** When everything begun has ended. */
  idle(): Promise<void>;
}

export function openEvaluations(
  options: ClientEvaluationOptions & {
    /** Evaluates a model blob on the server's test data. */
    readonly test: ((model: Uint8Array, round: number) => Promise<Tested>) | undefined;
    readonly log: Log;
    readonly done: (record: EvaluationRecord) => void;
  },
): Evaluations {
  const { test, metrics, log } = options;
  const server = test && openServerEvaluation(test, metrics, log);
  const clients = openClientEvaluation(options);
  const sequence = serial();
  return {
    begin(round, model, ids) {
      const both = Promise.all([server?.(round, model), clients.evaluate(round, model, ids)]);
      // One record after the other, in the order of the rounds.
      void sequence.run(async () => {
        const [tested, federated] = await both;
        if (tested === undefined && federated === undefined) return;
        options.done({
          round,
          ...(tested && { test: tested }),
          ...(federated && { federated }),
        });
      });
    },
    ask: clients.ask,
    answered: ({ client }, evaluation) => clients.answered(client, evaluation),
    gone: (client) => clients.answered(client, undefined),
    cut: clients.cut,
    idle: sequence.idle,
  };
}
