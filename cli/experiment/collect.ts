import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { ConfigError } from "../../runtime/errors.js";
import type { RoundResult, RunResult } from "./result.js";

const accuracy = v.optional(v.nullable(v.number()));

const Round = v.looseObject({
  round: v.number(),
  accuracy,
  sel: accuracy,
  all: accuracy,
  activationNorms: v.optional(v.nullable(v.array(v.number()))),
});

const Timing = v.looseObject({
  seconds: v.optional(v.number(), 0),
  bytes: v.optional(v.number(), 0),
});

const Clients = v.looseObject({ worstTenth: v.number() });

const FlatnessFile = v.looseObject({
  blocks: v.array(
    v.looseObject({
      block: v.string(),
      eigenvalues: v.array(v.number()),
      trace: v.number(),
      traceError: v.number(),
    }),
  ),
});

const percent = (share: number | null | undefined): number | undefined =>
  share === undefined || share === null ? undefined : 100 * share;

/** What a run's folder says of it. @throws ConfigError `run` where a file of it is missing or of another form. */
export async function collect(
  folder: string,
): Promise<Omit<RunResult, "cpuSeconds" | "flatness">> {
  const rounds = await lines(folder, "rounds.jsonl", Round);
  const timings = await lines(folder, "timings.jsonl", Timing);
  const clients = await whole(folder, "clients.json", Clients).catch(
    () => undefined,
  );
  const sum = (of: (timing: v.InferOutput<typeof Timing>) => number) =>
    timings.reduce((total, timing) => total + of(timing), 0);
  return {
    rounds: rounds.map(
      ({ round, accuracy, sel, all, activationNorms }): RoundResult => ({
        round,
        model: percent(accuracy),
        sel: percent(sel),
        all: percent(all),
        activationNorm: activationNorms?.reduce((a, b) => a + b, 0),
      }),
    ),
    worstTenth: percent(clients?.worstTenth),
    bytes: sum(({ bytes }) => bytes),
    seconds: sum(({ seconds }) => seconds),
  };
}

/** What `flatness.json` in a folder says of the whole Hessian. */
export async function flatnessIn(
  folder: string,
): Promise<NonNullable<RunResult["flatness"]>> {
  const { blocks } = await whole(folder, "flatness.json", FlatnessFile);
  const [{ eigenvalues, trace, traceError }] = blocks;
  return { eigenvalues, trace, traceError };
}

async function whole<S extends v.GenericSchema>(
  folder: string,
  name: string,
  schema: S,
): Promise<v.InferOutput<S>> {
  return checked(join(folder, name), await text(folder, name), schema);
}

async function lines<S extends v.GenericSchema>(
  folder: string,
  name: string,
  schema: S,
): Promise<v.InferOutput<S>[]> {
  const content = await text(folder, name);
  return content
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => checked(join(folder, name), line, schema));
}

const text = (folder: string, name: string): Promise<string> =>
  readFile(join(folder, name), "utf8").catch(() => {
    throw new ConfigError(
      "run",
      `"${join(folder, name)}" expected a file of a finished run, got nothing to read`,
    );
  });

function checked<S extends v.GenericSchema>(
  path: string,
  content: string,
  schema: S,
): v.InferOutput<S> {
  try {
    return v.parse(schema, JSON.parse(content));
  } catch (error) {
    throw new ConfigError(
      "run",
      `"${path}" expected a run's record, got: ${(error as Error).message}`,
    );
  }
}
