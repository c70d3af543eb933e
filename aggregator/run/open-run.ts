import { ConfigError } from "../../runtime/errors.js";
import { BASE } from "../../runtime/models/base.js";
import type { ModelDescription } from "../../runtime/models/description.js";
import { readCard } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { takeShare } from "../../runtime/models/shares.js";
import { readMetadata, readSafetensors } from "../../runtime/tensors/safetensors.js";
import type { RunDefinition } from "./definition.js";
import { openAccount, type Account } from "./privacy.js";
import { kindOf } from "./secure.js";
import { firstCheckpoint, inTurn, openReducer, type Reducer } from "../aggregation/reducer.js";
import { openReducerInWorker } from "../aggregation/reducer-in-worker.js";
import type { Log } from "../log.js";
import type { AggregatorOptions } from "./options.js";
import {
  openRunFolder,
  requireRunFolder,
  stateFolder,
  type RunFolder,
} from "../storage/run-folder.js";
import { fileLedger } from "../storage/files.js";
import type { Ledger, Opened } from "../storage/ledger.js";
import { wholeOf } from "../storage/whole-model.js";
import { memoryLedger } from "../storage/memory.js";
import { normalised, withStatistics } from "./statistics.js";
import { withThreshold } from "./threshold.js";
import { plain, wasmArithmetic } from "../aggregation/arithmetic.js";
import { mean } from "../aggregation/rules/mean.js";

/** Blobs above this size are hashed, checked and folded in a worker. */
const WORKER_FROM = 128 * 1024;

/** An opened run: its ledger, and what stands in it. */
export interface OpenedRun {
  readonly ledger: Ledger;
  readonly opened: Opened;
  /** It has the state of the last commit. */
  readonly reducer: Reducer;
  readonly folder: RunFolder | undefined;
  /** Of a run with differential privacy. */
  readonly account: Account | undefined;
  /** The run as asked for, with no more rounds than its privacy budget allows. */
  readonly definition: RunDefinition;
}

/**
 * Begins a run, or opens one where it was.
 * @throws ConfigError `run-exists`, `nothing-to-resume`, `resume` (another model or algorithm),
 * `state-locked`, `state-damaged`.
 */
export async function openRun(
  definition: RunDefinition,
  options: AggregatorOptions,
  log: Log,
): Promise<OpenedRun> {
  const { folder: path, resume = false, model: initial } = options;
  const { settings, algorithm, layout, averaged, metadata } = definition;
  const { shares } = networkOf(initial.description);
  if (path !== undefined && options.ledger === undefined) requireRunFolder(path, resume);
  const ledger =
    options.ledger ?? (path === undefined ? memoryLedger() : fileLedger(stateFolder(path)));
  const opened = withNormalisation(
    await ledger.open(
      firstCheckpoint(
        ...([algorithm, settings.algorithmSettings, layout, metadata] as const),
        takeShare(shares.shared, initial.weights),
        averaged && {
          layout: averaged,
          values: takeShare(shares.statistics, initial.weights),
        },
      ),
    ),
  );
  const { last, history, run } = opened;
  let reducer: Reducer | undefined;
  try {
    for (const note of opened.notes) log.warn({ run }, note);
    requireSameRun(definition, opened, initial.description);
    reducer = await chooseReducer(definition, log);
    await reducer.load(last.state.bytes);
    let folder: RunFolder | undefined;
    // A run that continues has other errors.
    const { threshold } = opened;
    const isOfIt = threshold?.round === last.record.round && threshold.round >= settings.rounds;
    const model = isOfIt ? withThreshold(last.model, threshold) : last.model;
    if (path !== undefined) {
      folder = openRunFolder(path, log);
      await folder.begin(
        { ...options.config, ...settings, model: initial.description },
        history.filter(({ round }) => round > 0).map(({ line }) => line),
        { round: last.record.round, model: wholeOf(model, definition.base) },
        opened.statistics,
      );
    }
    const account = definition.privacy && openAccount(definition.privacy, opened.charges);
    const { round } = last.record;
    const wanted = settings.rounds - round;
    const rounds = Math.min(settings.rounds, round + (account?.affordable(wanted) ?? wanted));
    const endsEarly =
      rounds < settings.rounds
        ? `the privacy budget of epsilon ${settings.dpBudget} allows ${rounds} of the ${settings.rounds} rounds asked for`
        : undefined;
    if (endsEarly !== undefined) log.warn({ run, rounds }, endsEarly);
    const within = { ...definition, settings: { ...settings, rounds }, endsEarly };
    return {
      ...{ ledger, reducer, folder, account, definition: within },
      opened: { ...opened, last: { ...last, model } },
    };
  } catch (error) {
    await reducer?.close();
    await ledger.close();
    throw error;
  }
}

/** The model before the first round has the statistics that were taken since it was written. */
function withNormalisation(opened: Opened): Opened {
  const { last, statistics } = opened;
  if (statistics === undefined || last.record.round > 0) return opened;
  return { ...opened, last: { ...last, model: normalised(last.model, statistics) } };
}

/** Whether clients are asked for statistics: the run has none, and has not begun without. */
export const asksForStatistics = (
  { takesStatistics }: RunDefinition,
  { last, latest, statistics }: Opened,
): boolean =>
  takesStatistics && statistics === undefined && last.record.round === 0 && latest === undefined;

function requireSameRun(
  definition: RunDefinition,
  opened: Opened,
  description: ModelDescription,
): void {
  const { settings, metadata, takesStatistics } = definition;
  const { last, latest, history, statistics } = opened;
  const changed = (setting: string, what: string, got = "another") =>
    new ConfigError(
      "resume",
      `"${setting}" expected the ${what} that the run was begun with, got ${got}`,
    );
  const begunWithout = statistics === undefined && !asksForStatistics(definition, opened);
  if (statistics ? !takesStatistics : begunWithout && settings.normalise === "channels")
    throw changed("normalise", `normalisation (${statistics ? "channels" : "none"})`);
  const expected = statistics ? withStatistics(metadata, statistics) : metadata;
  const found = readMetadata(last.model.bytes);
  if (found["model"] !== expected["model"]) {
    const before = readCard(last.model.bytes).description;
    for (const mark of ["frozen", "personal"] as const) {
      const [was, now] = [before, description].map((one) => markedIn(one, mark));
      if (was !== now) throw changed(mark, `${mark} layers (${was})`, now);
    }
    throw changed("model", "model");
  }
  if (found[BASE] !== expected[BASE]) throw changed("model", "numbers of the layers");
  const { algorithm = settings.algorithm, batchNorm = settings.batchNorm } =
    history.at(-1)?.line ?? {};
  if (algorithm !== settings.algorithm)
    throw changed("algorithm", `algorithm (${String(algorithm)})`);
  if (batchNorm !== settings.batchNorm)
    throw changed("batchNorm", `running values (${String(batchNorm)})`);
  // Before the first round the model itself says whether they are averaged.
  const [running] = networkOf(description).shares.statistics.places;
  const averages =
    running !== undefined && readSafetensors(last.model.bytes).tensors.has(running.name);
  if (averages !== (definition.averaged !== undefined))
    throw changed("batchNorm", `running values (${averages ? "average" : "frozen or local"})`);
  const charged = new Set(opened.charges.map(({ round }) => round));
  // Of what was published without noise no epsilon can be told, and what follows would tell more.
  const isPrivate = definition.privacy !== undefined;
  if (isPrivate ? charged.size < last.record.round : charged.size > 0)
    throw changed("dpNoise", `differential privacy (${isPrivate ? "none" : "dpNoise"})`);
  const mode = latest?.mode ?? kindOf(settings);
  if (mode !== kindOf(settings)) throw changed("mode", `mode (${mode})`);
}

/** The layers that are marked so, in words. */
const markedIn = ({ layers }: ModelDescription, mark: "frozen" | "personal"): string =>
  layers.flatMap((layer, index) => (layer[mark] === true ? [index] : [])).join(", ") || "none";

/** Behind a worker where blobs are large, so that the event loop does not wait for them. */
async function chooseReducer(
  { settings, algorithm, isOwn, updateBytes, combining, ...model }: RunDefinition,
  log: Log,
): Promise<Reducer> {
  const { maxAbs, maxNorm, clipUpdateNorm } = settings;
  const reducerSettings = {
    algorithm: algorithm.name,
    algorithmSettings: settings.algorithmSettings,
    codec: settings.codec,
    codecSettings: settings.codecSettings,
    modelCodec: settings.modelCodec,
    layout: model.layout,
    averaged: model.averaged,
    maxAbs,
    maxNorm: maxNorm || Infinity,
    clipUpdateNorm: clipUpdateNorm || Infinity,
    rule: combining.rule,
    secure: settings.secure,
  };
  // An algorithm of the caller's own is code, which cannot be sent to a worker.
  // A rule that sees all updates together looks at many small ones for as long as at a large one.
  const isMean = combining.rule.rule === mean.name;
  // How long noise takes to draw tells of it, so it is drawn where nobody waits for it.
  const isPrivate = combining.rule.protection !== undefined;
  // Masks are made again there for every client.
  const isSlow = updateBytes > WORKER_FROM || !isMean || isPrivate || settings.secure;
  if (isSlow && !isOwn) return openReducerInWorker(reducerSettings);
  const arithmetic = await wasmArithmetic().catch((error: unknown) => {
    log.warn({ err: error }, "folding without the WebAssembly kernels");
    return plain;
  });
  return inTurn(openReducer(reducerSettings, arithmetic, isOwn ? algorithm : undefined));
}
