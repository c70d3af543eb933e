import { randomBytes } from "node:crypto";
import { random } from "../../runtime/tensors/random.js";
import { METRICS, type MetricReader } from "../../runtime/models/metrics/built-in.js";
import type { Evaluation } from "../../runtime/training/local-round.js";
import { assignmentId } from "../clients/assignments.js";
import { isDiverged, lossCap, sampleCap } from "../clients/claims.js";
import { newAssignment, type Assignment } from "../clients/clients.js";
import type { Blob } from "../storage/ledger.js";
import type { Doubt } from "./client-means.js";
import { headlineIn, resultOf, type EvaluationRecord } from "./evaluation-record.js";
import { spreadOf } from "./spread.js";

export interface ClientEvaluationOptions {
  readonly seed: string;
  /** Part of the clients that are asked. */
  readonly fraction: number;
  readonly metrics: MetricReader;
  /** Samples that a client counts with at most; by the others' counts if not given. */
  readonly maxSamples: number | undefined;
  /** Milliseconds for the clients' answers. */
  readonly deadline: number;
  /** The form of the newest model that this client is given, where there are several. */
  readonly modelFor?: (client: string) => Blob;
  readonly give: (assignment: Assignment) => void;
  /** The assignment was not answered in time. */
  readonly takeBack: (assignment: Assignment) => void;
  readonly doubted: (doubt: Doubt & { readonly round: number }) => void;
}

/** Evaluates models on what clients held out; a new model ends the evaluation of the one before. */
interface ClientEvaluation {
  evaluate(
    round: number,
    model: Blob,
    ids: readonly string[],
  ): Promise<EvaluationRecord["federated"]>;
  /** What each of these clients says of it, all of them being asked. */
  ask(round: number, model: Blob, ids: readonly string[]): Promise<ReadonlyMap<string, Evaluation>>;
  /** A client has reported; without an evaluation it has given up. */
  answered(client: string, evaluation: Evaluation | undefined): void;
  /** Ends the open evaluation with the answers that there are. */
  cut(): void;
}

export function openClientEvaluation(options: ClientEvaluationOptions): ClientEvaluation {
  const { seed, fraction, metrics, maxSamples, deadline, modelFor = () => undefined } = options;
  let current: Pick<ClientEvaluation, "answered" | "cut"> | undefined;

  /** Part of these clients, drawn by a generator that seed and round decide. */
  function drawn(round: number, ids: readonly string[]): string[] {
    const order = random(seed, "evaluation", round)
      .shuffle(Uint32Array.from(ids.keys()))
      .subarray(0, Math.round(fraction * ids.length));
    return [...order].map((i) => ids[i]);
  }

  function assignmentsOf(round: number, model: Blob, ids: readonly string[]): Assignment[] {
    const key = randomBytes(32).toString("hex");
    const work = { round, attempt: 1 };
    return ids.map((id) => ({
      ...newAssignment(assignmentId(key, work, id), id, "evaluate", work, modelFor(id) ?? model),
      due: performance.now() + deadline,
    }));
  }

  function ask(
    round: number,
    model: Blob,
    ids: readonly string[],
  ): Promise<ReadonlyMap<string, Evaluation>> {
    const results = new Map<string, Evaluation>();
    const asked = assignmentsOf(round, model, ids);
    if (asked.length === 0) return Promise.resolve(results);
    current?.cut();
    return new Promise((resolve) => {
      const open = new Map(asked.map((assignment) => [assignment.client, assignment]));
      function cut(): void {
        clearTimeout(timer);
        if (current === ours) current = undefined;
        for (const assignment of open.values()) options.takeBack(assignment);
        open.clear();
        resolve(results);
      }
      function answered(client: string, evaluation: Evaluation | undefined): void {
        if (!open.delete(client)) return;
        if (evaluation !== undefined) results.set(client, evaluation);
        if (open.size === 0) cut();
      }
      const timer = setTimeout(cut, deadline);
      const ours = (current = { answered, cut });
      for (const assignment of asked) options.give(assignment);
    });
  }

  return {
    ask,
    async evaluate(round, model, ids) {
      const results = await ask(round, model, drawn(round, ids));
      const { sum, doubts } = sumOf(results, maxSamples, metrics);
      for (const doubt of doubts) options.doubted({ ...doubt, round });
      return sum;
    },

    answered: (client, evaluation) => current?.answered(client, evaluation),
    cut: () => current?.cut(),
  };
}

/**
 * The sum over the clients, in the order of their ids, for the order decides the last bits. One
 * counts with no more examples than the cap of all counts, and no larger a mean loss than theirs.
 * Sums that cannot be right, or are of such a loss, are left out. Where most say that the model is
 * bad, a larger loss is no reason to doubt its client.
 */
function sumOf(
  results: ReadonlyMap<string, Evaluation>,
  maxSamples: number | undefined,
  reader: MetricReader,
): { readonly sum: EvaluationRecord["federated"]; readonly doubts: readonly Doubt[] } {
  const given = [...results].filter(([, result]) => result.count > 0);
  const mostCount = sampleCap(
    given.map(([, result]) => result.count),
    maxSamples,
  );
  const losses = given.map(([, result]) => result.loss / result.count);
  const mostLoss = lossCap(losses);
  const isModelBad = isDiverged(losses);
  const doubts: Doubt[] = [];
  let [count, correct, loss] = [0, 0, 0];
  const own: number[] = [];
  const sums = { values: new Array<number>(reader.length).fill(0), count: 0 };
  for (const [client, result] of given.sort(([a], [b]) => (a < b ? -1 : 1))) {
    const weight = Math.min(result.count, mostCount);
    const part = weight / result.count;
    const mean = result.loss / result.count;
    if (mean > mostLoss && !isModelBad)
      doubts.push({
        client,
        reason: `"evaluation.loss" expected at most ${mostLoss} an example beside the others', got ${mean}`,
      });
    count += weight;
    correct += part * result.correct;
    loss += mean > mostLoss ? weight * mostLoss : part * result.loss;
    const wrong = result.sums && reader.doubt(result.sums, result.count, mostLoss);
    if (mean <= mostLoss && wrong === undefined) {
      const value = headlineIn(reader, result);
      if (value !== undefined) own.push(value);
    }
    if (result.sums === undefined) continue;
    if (wrong !== undefined) doubts.push({ client, reason: `"evaluation.sums" expected ${wrong}` });
    else if (mean <= mostLoss) {
      sums.count += weight;
      result.sums.forEach((value, i) => (sums.values[i] += part * value));
    }
  }
  if (count === 0) return { sum: undefined, doubts };
  const all = { count, correct, loss, ...(sums.count > 0 && { sums }) };
  const spread = spreadOf(own, METRICS[reader.headline].better);
  return {
    sum: { ...resultOf(reader, all), clients: results.size, ...(spread && { spread }) },
    doubts,
  };
}
