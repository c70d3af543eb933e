import { randomBytes } from "node:crypto";
import { serial } from "../../runtime/serial.js";
import { random } from "../../runtime/tensors/random.js";
import type { Evaluation } from "../../runtime/training/local-round.js";
import { assignmentId } from "../clients/assignments.js";
import type { Assignment } from "../clients/clients.js";
import { lossCap, sampleCap } from "../clients/claims.js";
import type { Log } from "../log.js";
import type { Doubt } from "./client-means.js";
import type { Blob } from "../storage/ledger.js";

/** Models that may wait for the server's own evaluation before one is passed over. */
const WAITING = 8;

/** Share of right answers and mean cross-entropy over `count` examples. */
export interface EvaluationResult {
  readonly count: number;
  readonly accuracy: number;
  readonly loss: number;
  /** Largest eigenvalue of the Hessian, where it was computed. */
  readonly topEigenvalue?: number;
}

/** What the server's own test data say of a model. */
export interface Tested extends Evaluation {
  readonly topEigenvalue?: number;
}

/** A line of `evaluations.jsonl`. */
export interface EvaluationRecord {
  readonly round: number;
  /** On the test data of the server. */
  readonly test?: EvaluationResult;
  /** On the hold-outs of so many clients. */
  readonly federated?: EvaluationResult & { readonly clients: number };
}

/** How good the committed models are: looked at after the commit, and never in a round's way. */
export interface Evaluations {
  /** Begins with a model, and asks some of these clients. */
  begin(round: number, model: Blob, ids: readonly string[]): void;
  /** A client has reported, or given up. */
  answered(assignment: Assignment, evaluation: Evaluation | undefined): void;
  gone(client: string): void;
  /** Ends what is open with what there is. */
  cut(): void;
  /** When everything begun has ended. */
  idle(): Promise<void>;
}

export function openEvaluations(options: {
  readonly seed: string;
  readonly fraction: number;
  /** Samples that a client counts with at most; by the others' counts if not given. */
  readonly maxSamples: number | undefined;
  /** Milliseconds for the clients' answers. */
  readonly deadline: number;
  /** Evaluates a model blob on the server's test data. */
  readonly test: ((model: Uint8Array, round: number) => Promise<Tested>) | undefined;
  readonly log: Log;
  readonly give: (assignment: Assignment) => void;
  /** The assignment was not answered in time. */
  readonly takeBack: (assignment: Assignment) => void;
  readonly doubted: (doubt: Doubt & { readonly round: number }) => void;
  readonly done: (record: EvaluationRecord) => void;
}): Evaluations {
  const { seed, fraction, deadline, test, log } = options;
  /** The clients' evaluation that is open. */
  let survey: Survey | undefined;
  /** Models that wait for the server's own evaluation, the oldest first. */
  const queue: {
    readonly round: number;
    readonly model: Blob;
    readonly resolve: (result: EvaluationResult | undefined) => void;
  }[] = [];
  let testing = false;
  const sequence = serial();

  function testModel(round: number, model: Blob): Promise<EvaluationResult | undefined> {
    if (test === undefined) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      // The newest is the one that matters most, and the last of a run is always looked at.
      if (queue.length >= WAITING) {
        const oldest = queue.shift()!;
        log.warn({ round: oldest.round }, "evaluations are behind: this model is passed over");
        oldest.resolve(undefined);
      }
      queue.push({ round, model, resolve });
      if (!testing) void testAll(test);
    });
  }

  async function testAll(look: NonNullable<typeof test>): Promise<void> {
    testing = true;
    for (let next = queue.shift(); next !== undefined; next = queue.shift())
      try {
        next.resolve(resultOf(await look(next.model.bytes, next.round)));
      } catch (error) {
        log.error({ err: error, round: next.round }, "the evaluation failed");
        next.resolve(undefined);
      }
    testing = false;
  }

  function surveyOf(
    round: number,
    model: Blob,
    ids: readonly string[],
  ): Promise<EvaluationRecord["federated"]> {
    const count = Math.round(fraction * ids.length);
    if (count === 0) return Promise.resolve(undefined);
    survey?.end();
    const order = random(seed, "evaluation", round)
      .shuffle(Uint32Array.from(ids.keys()))
      .subarray(0, count);
    const key = randomBytes(32).toString("hex");
    const work = { round, attempt: 1 };
    const asked = [...order].map((i): Assignment => ({
      id: assignmentId(key, work, ids[i]),
      client: ids[i],
      task: "evaluate",
      work,
      model,
      settings: {},
      due: performance.now() + deadline,
      lease: undefined,
      offer: undefined,
      weight: 0,
      folded: false,
      ended: undefined,
    }));
    return new Promise((resolve) => {
      const results = new Map<string, Evaluation>();
      const open = new Map(asked.map((a) => [a.client, a]));
      const ours: Survey = {
        answered(client, evaluation) {
          if (!open.delete(client)) return;
          if (evaluation !== undefined) results.set(client, evaluation);
          if (open.size === 0) ours.end();
        },
        end() {
          clearTimeout(timer);
          if (survey === ours) survey = undefined;
          for (const assignment of open.values()) options.takeBack(assignment);
          open.clear();
          const { sum, doubts } = sumOf(results, options.maxSamples);
          for (const doubt of doubts) options.doubted({ ...doubt, round });
          resolve(sum);
        },
      };
      const timer = setTimeout(ours.end, deadline);
      survey = ours;
      for (const assignment of asked) options.give(assignment);
    });
  }

  return {
    begin(round, model, ids) {
      const both = Promise.all([testModel(round, model), surveyOf(round, model, ids)]);
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
    answered: ({ client }, evaluation) => survey?.answered(client, evaluation),
    gone: (client) => survey?.answered(client, undefined),
    cut: () => survey?.end(),
    idle: sequence.idle,
  };
}

interface Survey {
  answered(client: string, evaluation: Evaluation | undefined): void;
  end(): void;
}

const resultOf = ({ count, correct, loss, topEigenvalue }: Tested): EvaluationResult => ({
  count,
  accuracy: correct / count,
  loss: loss / count,
  ...(topEigenvalue !== undefined && { topEigenvalue }),
});

/**
 * The sum over the clients, in the order of their ids, for the order decides the last bits. One
 * counts with no more examples than the cap of all counts, and no larger a mean loss than theirs.
 */
function sumOf(
  results: ReadonlyMap<string, Evaluation>,
  maxSamples: number | undefined,
): { readonly sum: EvaluationRecord["federated"]; readonly doubts: readonly Doubt[] } {
  const given = [...results].filter(([, result]) => result.count > 0);
  const mostCount = sampleCap(
    given.map(([, result]) => result.count),
    maxSamples,
  );
  const mostLoss = lossCap(given.map(([, result]) => result.loss / result.count));
  const doubts: Doubt[] = [];
  let [count, correct, loss] = [0, 0, 0];
  for (const [client, result] of given.sort(([a], [b]) => (a < b ? -1 : 1))) {
    const weight = Math.min(result.count, mostCount);
    const part = weight / result.count;
    const mean = result.loss / result.count;
    if (mean > mostLoss)
      doubts.push({
        client,
        reason: `"evaluation.loss" expected at most ${mostLoss} an example beside the others', got ${mean}`,
      });
    count += weight;
    correct += part * result.correct;
    loss += mean > mostLoss ? weight * mostLoss : part * result.loss;
  }
  if (count === 0) return { sum: undefined, doubts };
  return { sum: { ...resultOf({ count, correct, loss }), clients: results.size }, doubts };
}
