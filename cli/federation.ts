import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  Aggregator,
  type AggregatorOptions,
  type RoundRecord,
  type RoundTimings,
} from "../aggregator/run/aggregator.js";
import { isPersonal } from "../aggregator/run/definition.js";
import type { EvaluationRecord } from "../aggregator/run/evaluation-record.js";
import { spreadText } from "../aggregator/run/summary.js";
import { isFaultless } from "../aggregator/aggregation/validation.js";
import { statisticsInWords } from "../aggregator/clients/statistics.js";
import { thresholdInWords } from "../aggregator/clients/threshold.js";
import { runSettings, type GivenSettings } from "../aggregator/settings.js";
import type { Algorithm } from "../runtime/algorithms/algorithm.js";
import { algorithmNamed } from "../runtime/algorithms/built-in.js";
import type { Dataset, Part } from "../runtime/data/dataset.js";
import { ConfigError, FedflatError } from "../runtime/errors.js";
import { topEigenvalue } from "../runtime/flatness/top-eigenvalue.js";
import { initialModel } from "../runtime/models/initial.js";
import { headlineOf, metricText } from "../runtime/models/metrics/built-in.js";
import { networkOf } from "../runtime/models/network.js";
import { loadModel } from "../runtime/models/model.js";
import { pick } from "../runtime/protocol/settings.js";
import { weightedOf, type Trainer } from "../runtime/training/job.js";
import { counted } from "./counted.js";
import type { BeginningCard } from "./model.js";
import { sampleOf } from "./sample.js";
import type { SettingsOf } from "./settings.js";
import { verdictOn, type Course } from "./verdict.js";
import { inSentence, judgementOf, type RoundReport, type View } from "./view.js";

// What serve, simulate and demo have in common: an aggregator made from settings, shown while it
// runs, and its end.

/** The paper's augmentation (docs/data.md). */
const AUGMENTATION = { flip: true, crop: 4 };

/** Whether the run's model is a whole one: no layer or running value is a client's own. */
export const isComplete = (
  { description }: BeginningCard,
  { batchNorm }: SettingsOf<"serve"> | SettingsOf<"simulate">,
): boolean => !isPersonal(networkOf(description).shares, batchNorm);

/** Whether models are tried on the test data that there are: those that clients do not complete. */
export const isTestedBy = (
  test: Dataset | undefined,
  card: BeginningCard,
  settings: SettingsOf<"serve"> | SettingsOf<"simulate">,
): boolean => test !== undefined && isComplete(card, settings);

/** Whether clients predict with models of their own, which nobody else can try. */
export const keepsOwn = (own: Algorithm | undefined, name: string): boolean =>
  (own ?? algorithmNamed(name)).client.personal !== undefined;

/**
 * What the settings say about the rounds, in the aggregator's terms. Models that are not tested
 * here the clients evaluate.
 * @param isTested the models that clients predict with
 */
export function roundSettings(
  settings: SettingsOf<"serve"> | SettingsOf<"simulate">,
  isTested: boolean,
) {
  const { mode, fraction, clientsPerRound, bernoulli, buffer, concurrency, maxStaleness } =
    settings;
  const alone = (flag: string, given: unknown, other: string) => {
    if (given !== undefined && given !== false)
      throw new ConfigError("usage", `"--${flag}" expected ${other} beside it`);
  };
  if (fraction !== undefined) alone("fraction", clientsPerRound, "no --clients-per-round");
  if (mode === "buffered") {
    // Who trains is decided by who is ready.
    alone("fraction", fraction, "no --mode buffered");
    alone("clients-per-round", clientsPerRound, "no --mode buffered");
    alone("bernoulli", bernoulli, "no --mode buffered");
  } else {
    alone("buffer", buffer, "--mode buffered");
    alone("concurrency", concurrency, "--mode buffered");
    alone("max-staleness", maxStaleness, "--mode buffered");
  }
  return {
    ...pick(settings, runSettings),
    algorithmSettings: settings.set,
    codecSettings: settings.codecSet,
    augmentation: settings.augment ? AUGMENTATION : undefined,
    seed: String(settings.seed),
    evaluateFraction: settings.evaluateFraction ?? (isTested ? 0 : 1),
  } satisfies GivenSettings;
}

/** A folder of its own for a run that was given none. */
export const newRunFolder = (): string =>
  join("runs", new Date().toISOString().slice(0, 19).replaceAll(":", "-"));

/** All examples of a data set. */
export const wholeOf = (dataset: Dataset): Part => ({
  dataset,
  rows: Uint32Array.from(dataset.labels, (_, row) => row),
});

interface FederationOptions extends Pick<
  AggregatorOptions,
  "algorithm" | "folder" | "resume" | "hold" | "clientsAreAll" | "config" | "admission" | "log"
> {
  readonly card: BeginningCard;
  readonly settings: GivenSettings;
  /** What every new model is evaluated on, by the trainer. */
  readonly test?: Part;
  /** Every so many rounds the Hessian's largest eigenvalue is computed too; 0 for never. */
  readonly flatnessEvery?: number;
  readonly trainer: Trainer;
}

/** Test examples over which the Hessian's largest eigenvalue is computed during a run. */
const FLATNESS_SAMPLES = 500;

/** Opens the aggregator of a run that begins with the weights of its model, or random ones. */
export async function openAggregator(options: FederationOptions): Promise<Aggregator> {
  const { card, settings, test, trainer, flatnessEvery = 0, ...rest } = options;
  const { seed = "1" } = settings;
  if (flatnessEvery > 0 && test === undefined)
    throw new ConfigError(
      "usage",
      `"--flatness-every" expected test data (--test) to compute it on`,
    );
  return Aggregator.open({
    ...rest,
    settings,
    model: { ...initialModel(card, seed), ...(card.weights && { weights: card.weights }) },
    evaluate:
      test &&
      (async (bytes, round) => {
        const model = weightedOf(loadModel(bytes));
        const evaluation = await trainer.evaluate({ ...model, part: test });
        if (flatnessEvery === 0 || round % flatnessEvery !== 0) return evaluation;
        const part = sampleOf(test.dataset, FLATNESS_SAMPLES, seed);
        return {
          ...evaluation,
          topEigenvalue: await topEigenvalue(trainer, model, part, seed),
        };
      }),
  });
}

const UNTIL_READY = " It is not asked again before something has changed.";

/** Rounds of a run in order, each with its evaluation where it had one. */
export type Reports = readonly RoundReport[];

/** What was seen of a run while it was shown. */
interface Watched {
  readonly reports: Reports;
  /** Shows rounds that are still waiting for their evaluation. */
  flush(): void;
  readonly course: Course;
}

/**
 * Shows a run in the view while it runs. A round is shown when its evaluation is there, which may
 * be after the next one has begun.
 */
export function watch(aggregator: Aggregator, view: View, isTested: boolean): Watched {
  const { rounds, evaluateEvery, evaluateFraction, learningRate } = aggregator.settings;
  // In a private run clients may be kept from it.
  const isEvaluated = isTested || evaluateFraction > 0;
  const judgedBy = headlineOf(networkOf(aggregator.description).loss.task);
  const waiting: RoundReport[] = [];
  const reports: RoundReport[] = [];
  let course: Course = { learningRate };
  const show = (report: RoundReport) => {
    reports.push(report);
    view.round(report);
  };
  const flush = () => waiting.splice(0).forEach(show);

  /** How far each client of the round is, from 0 to 1. */
  let working = new Map<string, number>();
  let current = { round: 0, goal: 1, counted: 0 };
  const progress = () => {
    const { round, goal, counted } = current;
    const trained = [...working.values()].reduce((a, b) => a + b, 0);
    view.progress(
      `round ${round}/${rounds}`,
      Math.min(1, trained / goal),
      `${counted} of ${goal} updates`,
    );
  };
  aggregator.on("opened", ({ round, goal, phase }) => {
    if (phase !== undefined) return;
    working = new Map();
    current = { round, goal, counted: 0 };
    progress();
  });
  aggregator.on("progress", ({ client, round, batch, batches }) => {
    // In buffered rounds nothing is known of how far a round is but its updates.
    if (round !== current.round || aggregator.settings.mode === "buffered") return;
    working.set(client, batch / batches);
    progress();
  });
  aggregator.on("counted", ({ client, counted, goal }) => {
    working.set(client, 1);
    current = { ...current, counted, goal };
    progress();
  });
  aggregator.on("round", (line: RoundRecord, timings: RoundTimings) => {
    const { round, participants, lossBefore, lossAfter, activationNorms } = line;
    course = { ...course, ended: lossAfter, ...(round === 1 && { began: lossBefore }) };
    waiting.push({
      round,
      rounds,
      judgedBy,
      loss: lossAfter,
      activationNorm: activationNorms?.reduce((a, b) => a + b, 0),
      participants: participants.length,
      seconds: timings.seconds,
    });
    if (!isEvaluated || (round % evaluateEvery !== 0 && round !== rounds)) flush();
  });
  aggregator.on("evaluation", ({ round, test, federated }: EvaluationRecord) => {
    const result = test ?? federated;
    const at = waiting.findIndex((report) => report.round === round);
    if (at < 0 || result === undefined) return;
    const { accuracy, loss, metrics } = result;
    const spread = federated?.spread;
    waiting[at] = {
      ...waiting[at],
      ...{ accuracy, loss },
      ...(metrics && { metrics }),
      ...(spread && { spread }),
    };
    waiting.splice(0, at + 1).forEach(show);
  });
  aggregator.on("abandoned", ({ round, attempt, reason, phase }) => {
    // Its clients may still tell of their progress.
    current = { round: 0, goal: 1, counted: 0 };
    view.say(
      "abandoned",
      { round, attempt, reason, phase },
      `Round ${round}, attempt ${attempt}${phase ? ` (${phase})` : ""} was abandoned: ${reason}.`,
    );
  });
  // With no round under way there is no progress to be seen: what has to come first is said once it
  // has stood for a while.
  let wait: NodeJS.Timeout | undefined;
  aggregator.on("waiting", (sentence) => {
    clearTimeout(wait);
    if (current.round !== 0) return;
    wait = setTimeout(() => view.say("waiting", { sentence }, sentence), 1000);
    wait.unref();
  });
  sayTroubles(aggregator, view);
  return {
    reports,
    flush,
    get course() {
      return course;
    },
  };
}

/** Says of which clients nothing came, or what cannot be believed, and why. */
function sayTroubles(aggregator: Aggregator, view: View): void {
  aggregator.on("client", ({ client, reason, code }) => {
    if (code === undefined) return;
    view.say(
      "unfit",
      { client, code, reason },
      `Client ${client.slice(0, 8)} cannot take part${reason === undefined ? "" : ` (${reason})`}.${UNTIL_READY}`,
    );
  });
  aggregator.on("missed", ({ client, round, code, reason, barred }) =>
    view.say(
      "missed",
      { client, round, code, reason, barred },
      // Somebody is late, away or busy in nearly every round of many devices.
      reason === undefined || code === "declined-busy" || code === "failed-stopped"
        ? undefined
        : `Round ${round} goes without client ${client.slice(0, 8)} (${reason}).${barred ? UNTIL_READY : ""}`,
    ),
  );
  aggregator.on("doubted", ({ client, round, reason }) =>
    view.say(
      "doubted",
      { client, round, reason },
      `Figures of client ${client.slice(0, 8)} are doubtful in round ${round}: ${reason}.`,
    ),
  );
  aggregator.on("refused", ({ client, code, message }) =>
    view.say(
      "refused",
      { client, code, message },
      // Somebody comes late at the end of nearly every round, and an abandoned one has its sentence.
      isFaultless(code)
        ? undefined
        : `Refused an update of client ${client.slice(0, 8)} (${code}): ${message}.`,
    ),
  );
}

/** Says who can see what in a run with differential privacy, and how far its budget reaches. */
function sayPrivacy(aggregator: Aggregator, view: View, isTested: boolean): void {
  const { whoSees, isDiscreet, endsEarly, privacy } = aggregator;
  if (whoSees === undefined) return;
  const sentences = [
    whoSees,
    ...(isDiscreet
      ? [
          `What clients measure is kept back and stands here as "-", because epsilon does not cover it; --unprotected-metrics shows it.${isTested ? "" : " Test data (--test) say how good each model is."}`,
        ]
      : []),
    ...(endsEarly ? [`It will end early: ${endsEarly}.`] : []),
  ];
  view.say("privacy", { ...privacy, endsEarly }, sentences.join("\n"));
}

/** Says who can see what in a private run, by what inputs are normalised once that is known, and what threshold was taken. */
export function sayTerms(aggregator: Aggregator, view: View, isTested: boolean): void {
  sayPrivacy(aggregator, view, isTested);
  aggregator.on("statistics", (record) => {
    for (const sentence of statisticsInWords(record, aggregator.channelNames))
      view.say("statistics", { sentence }, sentence);
  });
  aggregator.on("withoutStatistics", (sentence) =>
    view.say("withoutStatistics", {}, `${sentence}.`),
  );
  aggregator.on("threshold", (taken) => {
    const { quantile, value } = taken.record ?? {};
    view.say("threshold", { quantile, value, clients: taken.clients }, thresholdInWords(taken));
  });
}

/** Clients that are still connected some milliseconds after the end of a run are left behind. */
const FAREWELL = 10_000;

/** Waits until the clients have fetched the last model and left. */
async function farewell(aggregator: Aggregator): Promise<void> {
  const end = performance.now() + FAREWELL;
  const connected = () => aggregator.status().clients.some(({ connected }) => connected);
  while (connected() && performance.now() < end) await sleep(50);
}

/**
 * Waits for the end of a run, or stops it when the signal aborts, and says what came of it and
 * where it lies. Clients in other processes get time to fetch the last model.
 * @throws FedflatError `failed` where the run could not continue.
 */
export async function conclude(
  aggregator: Aggregator,
  view: View,
  folder: string,
  signal: AbortSignal,
  run: Watched,
  {
    clients,
    grace = 0,
  }: {
    readonly clients: "of their own" | "simulated";
    /** Milliseconds that a round in progress gets to end after SIGTERM. */
    readonly grace?: number;
  },
): Promise<void> {
  let patience: NodeJS.Timeout | undefined;
  const stop = () => {
    const now = () => void aggregator.stop("stopped by the operator");
    if (signal.reason !== "SIGTERM" || grace === 0) return now();
    aggregator.drain();
    patience = setTimeout(now, grace);
  };
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop);
  const { reason, message, rounds } = await aggregator.done;
  clearTimeout(patience);
  run.flush();
  if (reason === "finished" && clients === "of their own") await farewell(aggregator);
  await aggregator.stop();
  if (reason === "failed")
    throw new FedflatError(
      "failed",
      `the run cannot continue after round ${rounds}: ${message} (its state is in ${folder})`,
    );
  const model = join(folder, "model");
  const last = run.reports.at(-1);
  const judged = last && judgementOf(last);
  const { accuracy, metrics, spread } = last ?? {};
  const { whoSees, endsEarly, privacy } = aggregator;
  const early = `${endsEarly ? ` It ended there: ${endsEarly}.` : ""}${whoSees ? `\n${whoSees}` : ""}`;
  const byClient = spread ? `; on hold-outs, ${spreadText(last!.judgedBy, spread)}` : "";
  const facts = {
    rounds,
    accuracy,
    ...(privacy && { privacy }),
    ...(metrics && { metrics }),
    ...(spread && { spread }),
    model,
    run: folder,
  };
  if (reason === "stopped")
    view.say(
      "stopped",
      facts,
      `Stopped after round ${rounds}. The state is in ${folder}: the same command with --run ${folder} --resume continues it.`,
    );
  else {
    const done = counted(rounds, "round");
    const verdict = verdictOn(run.course, last);
    if (verdict !== undefined) view.say("notice", { sentence: verdict }, verdict);
    view.say(
      "done",
      facts,
      judged === undefined
        ? `Done after ${done}. The model is in ${model}.${early}`
        : `Done after ${done}: ${inSentence(last!.judgedBy)} ${metricText(last!.judgedBy, judged)}${byClient}. The model is in ${model}.${early}`,
    );
  }
}
