import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { ConfigError } from "../../runtime/errors.js";
import { METRIC_NAMES, METRICS, type MetricName } from "../../runtime/models/metrics/built-in.js";
import { judgementOf } from "../view.js";
import type { RoundMeasures, RunResult } from "./result.js";

const Round = v.looseObject({
  round: v.number(),
  participants: v.array(v.string()),
  activationNorms: v.optional(v.array(v.number()), []),
});

const Timing = v.looseObject({
  seconds: v.number(),
  updateBytes: v.number(),
  modelBytes: v.optional(v.number()),
});

const measured = v.looseObject({
  accuracy: v.optional(v.number()),
  metrics: v.optional(v.record(v.string(), v.number())),
});

type Measured = v.InferOutput<typeof measured>;

const spread = v.looseObject({ mean: v.number(), worstTenth: v.number() });

const EvaluationFile = v.looseObject({
  round: v.number(),
  test: v.optional(measured),
  federated: v.optional(v.looseObject({ ...measured.entries, spread: v.optional(spread) })),
});

const PersonalFile = v.looseObject({ personal: spread });

const MeansFile = v.looseObject({
  round: v.number(),
  sel: measured,
  all: v.optional(measured),
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

const percent = (share: number | undefined): number | undefined =>
  share === undefined ? undefined : 100 * share;

/** What the models of a run are judged by: the first metric that its evaluations have. */
const judgedIn = (evaluations: readonly Measured[]): MetricName =>
  METRIC_NAMES.find((judgedBy) =>
    evaluations.some((one) => judgementOf({ ...one, judgedBy }) !== undefined),
  ) ?? "accuracy";

/**
 * What a run's folder says of it. @throws ConfigError `run` where a file of it is missing or of
 * another form.
 */
export async function collect(folder: string): Promise<Omit<RunResult, "cpuSeconds" | "flatness">> {
  const rounds = await lines(folder, "rounds.jsonl", Round);
  const timings = await lines(folder, "timings.jsonl", Timing);
  const evaluations = await lines(folder, "evaluations.jsonl", EvaluationFile);
  // Of models with personal layers there is no mean to measure on test data.
  const means = (await exists(join(folder, "means.jsonl")))
    ? await lines(folder, "means.jsonl", MeansFile)
    : [];
  const judgedBy = judgedIn([
    ...means.map(({ sel }) => sel),
    ...evaluations.map(({ federated = {} }) => federated),
  ]);
  const scaled = (value: number) => (METRICS[judgedBy].unit === "share" ? 100 * value : value);
  const of = (one: Measured | undefined): number | undefined => {
    const value = one && judgementOf({ ...one, judgedBy });
    return value === undefined ? undefined : scaled(value);
  };
  const own = (await exists(join(folder, "personal.json")))
    ? (await whole(folder, "personal.json", PersonalFile)).personal
    : evaluations.at(-1)?.federated?.spread;
  // How a model serves each client is known by its own mix of classes.
  const clients =
    judgedBy === "accuracy" && means.length > 0
      ? await whole(folder, "clients.json", Clients)
      : undefined;
  // Older runs do not say it: every participant was sent the whole model.
  const { size } = await stat(join(folder, "model", "weights.safetensors"));
  const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
  const updates = total(rounds.map(({ participants }) => participants.length));
  const up = total(timings.map(({ updateBytes }) => updateBytes));
  const down = total(
    rounds.map(({ participants }, i) => timings[i]?.modelBytes ?? size * participants.length),
  );
  return {
    rounds: rounds.map(({ round, activationNorms }): RoundMeasures => {
      const { test, federated } = evaluations.find((one) => one.round === round) ?? {};
      const { sel, all } = means.findLast((one) => one.round === round) ?? {};
      return {
        round,
        model: of(test),
        sel: of(sel),
        all: of(all),
        ...(federated?.spread && { own: scaled(federated.spread.mean) }),
        activationNorm: total(activationNorms),
      };
    }),
    ...(judgedBy !== "accuracy" && { judgedBy }),
    worstTenth: percent(clients?.worstTenth),
    ...(own && { own: { mean: scaled(own.mean), worstTenth: scaled(own.worstTenth) } }),
    bytes: up + down,
    updateBytes: up / updates,
    modelBytes: down / updates,
    seconds: total(timings.map(({ seconds }) => seconds)),
  };
}

/** What `flatness.json` in a folder says of the whole Hessian. */
export async function flatnessIn(folder: string): Promise<NonNullable<RunResult["flatness"]>> {
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

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

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
