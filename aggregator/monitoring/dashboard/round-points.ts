import * as v from "valibot";
import { readRunFolder, type RunFolderLine } from "../../storage/run-folder.js";
import type { EvaluationRecord } from "../../run/evaluations.js";
import type { RoundRecord, RoundTimings } from "../../run/round-record.js";
import type { RoundPoint } from "./messages.js";

/** Rounds that a page is told of; of a longer run, the last ones. */
export const ROUNDS_KEPT = 2000;

/** Six digits are more than a plot can show, and half of what a double takes as text. */
const short = (value: number): number => Number(value.toPrecision(6));

const optional = v.optional(v.number());
const result = v.optional(
  v.object({
    accuracy: v.number(),
    loss: v.number(),
    topEigenvalue: optional,
  }),
);
const Line = v.object({
  participants: v.array(v.string()),
  lossBefore: v.number(),
  lossAfter: v.number(),
  activationNorms: v.array(v.number()),
});
const Evaluation = v.object({ test: result, federated: result });
const Timings = v.object({
  seconds: optional,
  collectSeconds: optional,
  finishSeconds: optional,
  commitSeconds: optional,
  trainSeconds: optional,
  updateBytes: optional,
});

type Figures = Omit<RoundPoint, "round">;

export const figuresOfRound = (
  record: Pick<RoundRecord, "participants" | "lossBefore" | "lossAfter" | "activationNorms">,
): Figures => ({
  participants: record.participants.length,
  lossBefore: short(record.lossBefore),
  lossAfter: short(record.lossAfter),
  activationNorms: record.activationNorms.map(short),
});

export const figuresOfTimings = (timings: Partial<Omit<RoundTimings, "round">>): Figures =>
  Object.fromEntries(
    Object.entries(timings)
      .filter(([name]) => name in Timings.entries)
      .map(([name, value]) => [name, short(value)]),
  );

export const figuresOfEvaluation = ({
  test,
  federated,
}: v.InferOutput<typeof Evaluation> | EvaluationRecord): Figures => ({
  ...(test && {
    testAccuracy: short(test.accuracy),
    testLoss: short(test.loss),
    ...(test.topEigenvalue !== undefined && {
      topEigenvalue: short(test.topEigenvalue),
    }),
  }),
  ...(federated && {
    clientAccuracy: short(federated.accuracy),
    clientLoss: short(federated.loss),
  }),
});

/**
 * The rounds that the run's folder knows of, up to this one: what a page shows of the time before a
 * restart.
 */
export async function pastRounds(folder: string, committed: number): Promise<RoundPoint[]> {
  const { rounds, evaluations, timings } = await readRunFolder(folder);
  const points = new Map<number, RoundPoint>();
  const add = <S extends v.GenericSchema>(
    lines: readonly RunFolderLine[],
    schema: S,
    figures: (line: v.InferOutput<S>) => Figures,
  ) => {
    for (const line of lines) {
      const { round } = line;
      if (round > committed || round <= committed - ROUNDS_KEPT) continue;
      const read = v.safeParse(schema, line);
      if (read.success)
        points.set(round, {
          ...points.get(round),
          ...figures(read.output),
          round,
        });
    }
  };
  add(rounds, Line, figuresOfRound);
  add(evaluations, Evaluation, figuresOfEvaluation);
  add(timings, Timings, figuresOfTimings);
  return [...points.values()];
}
