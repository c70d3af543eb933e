import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ruleNamed } from "../aggregator/aggregation/rules/built-in.js";
import { mean } from "../aggregator/aggregation/rules/mean.js";
import type { Aggregator } from "../aggregator/run/aggregator.js";
import { runSettings } from "../aggregator/settings.js";
import { algorithmNamed } from "../runtime/algorithms/built-in.js";
import { LEAST_MEASURED } from "../runtime/client/examples.js";
import { FederatedClient, type ClientOptions } from "../runtime/client.js";
import { parseSplit, splitRows } from "../runtime/data/split.js";
import type { Dataset } from "../runtime/data/dataset.js";
import { matched } from "../runtime/data/matching.js";
import { ConfigError, DataError } from "../runtime/errors.js";
import { expectedBy, type ModelCard } from "../runtime/models/model.js";
import { memoryLine } from "../runtime/platform/memory-line.js";
import { LEAST_MEMBERS } from "../runtime/secure/graph.js";
import { memoryStore } from "../runtime/platform/memory-store.js";
import { clientId, labIdentity } from "../runtime/platform/node-identity.js";
import { openStateFolder } from "../runtime/platform/node-state.js";
import { nodePlatform } from "../runtime/platform/node.js";
import type { Identity } from "../runtime/platform/platform.js";
import { holdOut as heldOut } from "../runtime/training/batches.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { attackNamed } from "./attacks.js";
import { ownAlgorithm } from "./algorithm.js";
import { openData, openOptions, type OpenedData } from "./data.js";
import {
  openAggregator,
  conclude,
  isComplete,
  isTestedBy,
  keepsOwn,
  newRunFolder,
  roundSettings,
  sayTerms,
  watch,
  wholeOf,
} from "./federation.js";
import { openHostileClients } from "./hostile-clients.js";
import { logInto } from "./log-file.js";
import { openLab } from "./comparison.js";
import { counted } from "./counted.js";
import { modelNamed, presetFor } from "./model.js";
import { personaliseAll, personaliseOptions } from "./personal.js";
import { remarkOn } from "./remarks.js";
import { sampleOf } from "./sample.js";
import type { SettingsOf } from "./settings.js";
import { writeTensorBoard } from "./tensorboard.js";
import type { ByClient } from "./spread.js";
import { openView, type View } from "./view.js";

/** Where simulated clients dial: they sign it as any other host. */
const HOST = "simulation";

const LONGEST = 2 ** 31 - 1;

/** Nothing of a simulation waits for a clock, since only the machine itself can be slow. */
const PATIENCE = {
  heartbeat: 3_600_000,
  helloDeadline: LONGEST,
  stall: LONGEST,
  storageDeadline: LONGEST,
  gatherDeadline: LONGEST,
  deadline: LONGEST,
  evaluateDeadline: LONGEST,
  secureDeadline: LONGEST,
};

/**
 * `fedflat simulate`: a whole federation in this process and its workers. Aggregator and clients
 * are the real ones; only their connections are in memory, and all clients share a pool of workers.
 */
export async function simulate(
  settings: SettingsOf<"simulate">,
  signal: AbortSignal,
): Promise<void> {
  const folder = settings.run ?? newRunFolder();
  const opened = await openData(settings.data, openOptions(settings));
  const model = settings.model ?? presetFor(opened);
  const card = await modelNamed(model, opened, settings);
  const dataset = matched("data", opened.train ?? opened.test!, expectedBy(card));
  const test = await testData(settings, opened, card);
  if (settings.lab && test === undefined)
    throw new DataError(
      "count",
      `"data" expected a test half, or --test beside it, to measure models on, got neither`,
    );
  const isTested = isTestedBy(test, card, settings);
  const own = await ownAlgorithm(settings.algorithm);
  const isTestedWhole = isTested && !keepsOwn(own, settings.algorithm);
  const given = roundSettings(settings, isTestedWhole);
  const tuning = personaliseOptions(settings);
  const parts = dealt(settings, dataset);
  const attack = attackNamed(settings.attack)!;
  const attackers = attackersOf(settings, parts.length);
  const wanted = wantedOf(settings, parts.length);
  requireEnough(settings, parts.length);
  // A rule for hostile updates has to be sure of how many there are at least.
  const minimum = given.aggregate === mean.name ? 1 : wanted;
  const holdOut = settings.holdOut ?? (isTestedWhole && tuning === undefined ? 0 : 0.1);
  const seed = String(settings.seed);
  const identities = parts.map((_, i) => labIdentity(seed, i + 1));
  const ids = identities.map(clientId);
  const trainer = trainerOf(
    nodePlatform({ relaxedSimd: true }).startWorker,
    settings.workers ?? availableParallelism(),
  );
  const view = openView(settings.json);
  const clients: FederatedClient[] = [];
  try {
    const aggregator = await openAggregator({
      card,
      test: test && wholeOf(test),
      flatnessEvery: settings.flatnessEvery,
      trainer,
      folder,
      resume: settings.resume,
      clientsAreAll: true,
      algorithm: own,
      config: { command: "simulate", data: settings.data, split: settings.split },
      log: logInto(join(folder, "log.jsonl")),
      settings: {
        ...given,
        ...PATIENCE,
        normalise: given.normalise ?? normaliseFor(dataset, parts, holdOut, ids, minimum),
        gather: parts.length,
        hostile: given.hostile ?? toldOf(given.aggregate, Math.min(attackers, wanted)),
        minimum,
        overSelection: 1,
        quorum: 1,
        maxSamples: dataset.labels.length,
      },
    });
    remarkOn(view, settings.data, dataset, aggregator);
    remarkOnAttackers(view, settings.attack, attackers);
    view.say(
      "simulating",
      { clients: parts.length, run: folder },
      `${counted(parts.length, "client")} ${parts.length === 1 ? "trains" : "train"} ${model} with ${settings.algorithm}, zeta ${settings.zeta}; the run is in ${folder}.`,
    );
    const run = watch(aggregator, view, isTested);
    sayTerms(aggregator, view, isTested);
    if (settings.tensorboard !== undefined) writeTensorBoard(aggregator, settings.tensorboard);
    const { client } = own ?? algorithmNamed(settings.algorithm);
    const stateful = client.state.length > 0 || !isComplete(card, settings);
    const lab =
      settings.lab && test !== undefined && isTested
        ? openLab({
            ...{ folder, card, seed, trainer, dataset, parts, clients: ids },
            normalisation: () => aggregator.normalisation,
            rounds: settings.rounds,
            evaluateEvery: settings.evaluateEvery,
            test: wholeOf(test),
            onMeans: (line) => view.say("means", { ...line }),
          })
        : undefined;
    aggregator.on("round", (line) => lab?.round(line));
    const hostile = openHostileClients(aggregator, attack, new Set(ids.slice(0, attackers)));
    for (const [i, rows] of parts.entries())
      clients.push(
        simulatedClient(aggregator, identities[i], {
          data: { dataset, rows },
          // What clients keep has to be there after a resume.
          state: stateful ? join(folder, "clients", String(i + 1)) : "",
          holdOut,
          trainer: hostile.trainerOf(ids[i], lab?.trainerOf(ids[i]) ?? trainer),
          algorithms: own && [own],
        }),
      );
    const running = clients.map((client) => client.run());
    await conclude(aggregator, view, folder, signal, run, {
      clients: "simulated",
    });
    await Promise.all([...clients.map((client) => client.stop()), ...running]);
    const { reason, model: last } = await aggregator.done;
    if (reason === "finished") {
      sayMixes(await lab?.end(last), view);
      if (tuning !== undefined) await personaliseAll(clients, tuning, last, folder, view);
    }
  } finally {
    await Promise.all(clients.map((client) => client.stop()));
    trainer.close();
    view.close();
  }
}

/** @throws ConfigError `clients` */
function requireEnough({ secure }: SettingsOf<"simulate">, clients: number): void {
  if (secure && clients < LEAST_MEMBERS)
    throw new ConfigError(
      "clients",
      `"--clients" expected at least ${LEAST_MEMBERS} beside --secure, got ${clients}`,
    );
}

/** Says how the last model serves the clients by their own mixes of classes. */
function sayMixes(spread: ByClient | undefined, view: View): void {
  if (spread === undefined) return;
  const { worstTenth, mean } = spread;
  view.say(
    "clients",
    { worstTenth, mean },
    `Accuracy in the clients' own mixes of classes: ${(100 * mean).toFixed(1)} %, for the worst tenth of them ${(100 * worstTenth).toFixed(1)} %.`,
  );
}

/** How many of the clients are hostile. */
function attackersOf({ attack, attackers, mode }: SettingsOf<"simulate">, clients: number): number {
  const wrong = (flag: string, expected: string, got: unknown) =>
    new ConfigError("usage", `"--${flag}" expected ${expected}, got ${String(got)}`);
  if (attackers >= clients)
    throw wrong("attackers", `fewer than all ${clients} clients`, attackers);
  if (attack !== "none" && attackers === 0)
    throw wrong("attackers", `how many clients do ${attack}`, attackers);
  if (attack !== "none" && mode === "buffered")
    throw wrong(
      "attack",
      "none in buffered rounds, which are over before all have trained",
      attack,
    );
  return attackers;
}

function remarkOnAttackers(view: View, attack: string, attackers: number): void {
  if (attack !== "none" || attackers === 0) return;
  const sentence = `The ${attackers} clients of --attackers train honestly, since no --attack is given`;
  view.say("notice", { sentence }, `${sentence}.`);
}

/** The number of hostile clients, for a rule that bears some. */
const toldOf = (rule: string, attackers: number): number | undefined => {
  const { least, defaults } = ruleNamed(rule);
  return least(1, defaults) === Infinity ? undefined : attackers;
};

/** Updates wanted in a round of so many clients. */
const wantedOf = (
  { clientsPerRound, fraction = runSettings.fraction.default }: SettingsOf<"simulate">,
  clients: number,
): number => Math.min(clients, clientsPerRound ?? Math.max(1, Math.round(fraction * clients)));

/** Nothing is measured before round 1 where too few could, and nobody else comes. */
function normaliseFor(
  dataset: Dataset,
  parts: readonly Uint32Array[],
  share: number,
  ids: readonly string[],
  minimum: number,
): "none" | undefined {
  const able = parts.filter((rows, i) => {
    const { train } = heldOut({ dataset, rows }, share, ids[i]);
    return train.rows.length >= LEAST_MEASURED;
  });
  return able.length >= minimum ? undefined : "none";
}

/**
 * A real client whose connection is in memory. `state` is a folder, or empty for a memory that the
 * process takes with it.
 */
function simulatedClient(
  aggregator: Aggregator,
  identity: Identity,
  options: Omit<ClientOptions, "url">,
): FederatedClient {
  return new FederatedClient(
    { ...options, url: `ws://${HOST}` },
    {
      openSocket() {
        // As tasks, so that a long conversation lets timers and workers in.
        const [ours, theirs] = memoryLine(setImmediate);
        aggregator.attach(theirs, { host: HOST, address: "memory" });
        return ours;
      },
      openState: async (folder) => (folder === "" ? memoryStore() : openStateFolder(folder)),
      identity: async () => identity,
      startWorker() {
        throw new Error("a simulated client has the pool's workers");
      },
    },
  );
}

/** What `--test` names, else the test half of the data, as the model takes it. */
async function testData(
  settings: SettingsOf<"simulate">,
  { train, test }: OpenedData,
  card: ModelCard,
): Promise<Dataset | undefined> {
  const expected = expectedBy(card);
  if (settings.test === undefined) return train && test && matched("data", test, expected);
  const other = await openData(settings.test, openOptions(settings));
  return matched("--test", (other.test ?? other.train)!, expected);
}

/** The rows of each client, in the order of their indices. */
function dealt(
  { split, clients, seed, samples }: SettingsOf<"simulate">,
  whole: Dataset,
): readonly Uint32Array[] {
  const { rows } = sampleOf(whole, samples, seed);
  const how = parseSplit(split);
  const count = clients ?? (how.kind === "groups" ? undefined : 10);
  const dataset = {
    ...whole,
    labels: Int32Array.from(rows, (row) => whole.labels[row]),
    ...(whole.starts && { starts: Uint32Array.from(rows, (row) => whole.starts![row]) }),
    ...(whole.windows && {
      windows: {
        span: whole.windows.span,
        series: Uint32Array.from(rows, (row) => whole.windows!.series[row]),
      },
    }),
    groups: whole.groups && Int32Array.from(rows, (row) => whole.groups![row]),
  };
  const parts = splitRows(dataset, how, count, seed);
  if (parts.some(({ length }) => length === 0))
    throw new DataError("count", `"--clients" expected examples for each`);
  return parts.map((part) => part.map((place) => rows[place]));
}
