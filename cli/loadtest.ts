import { open, readdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { ConfigError } from "../runtime/errors.js";
import { splitRows } from "../runtime/data/split.js";
import { makeFolder } from "../runtime/platform/node-files.js";
import { HOLD_OUT, holdOut } from "../runtime/training/batches.js";
import { nodePlatform } from "../runtime/platform/node.js";
import type { Trainer } from "../runtime/training/job.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { attackNamed } from "./attacks.js";
import { openData, openOptions } from "./data.js";
import {
  startFleet,
  type FleetOptions,
  type RunningFleet,
  type UpdateKind,
} from "./loadtest/fleet.js";
import { startFleetInWorker } from "./loadtest/fleet-in-worker.js";
import { readFleet } from "./loadtest/profile.js";
import { countsOf, merged } from "./loadtest/recording.js";
import {
  duration as timeOf,
  htmlOf,
  kindsOf,
  plural,
  reportOf,
  textOf,
  type Moment,
} from "./loadtest/report.js";
import { serverFigures, serverWaitsFor } from "./loadtest/server-figures.js";
import type { SettingsOf } from "./settings.js";
import { readTls, readToken } from "./token.js";
import { openView } from "./view.js";

/** Milliseconds after which it is seen that the test is over. */
const PAUSE = 100;

/**
 * Milliseconds in which no client hears of a committed update when all have; more than a worker
 * needs to tell.
 */
const SILENCE = 300;

/** `fedflat loadtest`: light clients against an aggregator, for a bounded time. */
export async function loadtest(
  settings: SettingsOf<"loadtest">,
  signal: AbortSignal,
): Promise<void> {
  const { address: url, lightClients: clients, duration } = settings;
  const { tokenFile, tlsCa, untilRounds = Infinity } = settings;
  const profiles = readFleet(settings.profiles);
  const poisoned = profiles.find(({ profile }) => attackNamed(profile.attack)?.poison);
  if (poisoned !== undefined && settings.update !== "train")
    throw new ConfigError(
      "usage",
      `"--update" expected train for ${poisoned.name}, whose clients train on other labels, got ${settings.update}`,
    );
  const token = tokenFile && (await readToken(tokenFile));
  const ca = (await readTls({ tlsCa }))?.ca;
  const trainers: Trainer[] = [];
  const update = await updatesOf(settings, trainers);
  // A file that cannot be written is told now, when all else is in order, and not when the test is
  // over. It stays open, for then there may be none left to open.
  const page = settings.report && (await open(settings.report, "a"));
  const view = openView(settings.json);
  const begun = performance.now();
  const load = {
    url,
    clients,
    profiles: settings.profiles,
    update: settings.update,
    seed: settings.seed,
    begun: new Date().toISOString(),
  };
  const cpuBefore = process.cpuUsage();
  const moments: Moment[] = [];

  const fleets = startFleets(settings, { token, ca, profiles, update });
  const timeLeft = () => 1000 * duration - (performance.now() - begun);
  /** An aggregator that hangs does not make the test longer than by a second. */
  const patience = () => Math.round(Math.min(5000, Math.max(1000, timeLeft())));
  const recordings = () => fleets.map(({ recording }) => recording);

  async function look(): Promise<void> {
    const server = await serverFigures({ url, token, ca }, patience());
    const { states, counted, rounds, errors } = countsOf(recordings());
    const seconds = (performance.now() - begun) / 1000;
    const memory = memoryNow();
    moments.push({ seconds, states, counted, memory, server });
    const at = Object.entries(states)
      .filter(([, number]) => number > 0)
      .map(([state, number]) => `${number} ${state}`);
    view.progress(
      `${seconds.toFixed(0)} of ${duration} s`,
      Math.min(1, Math.max(seconds / duration, rounds / untilRounds)),
      at.join(", ") || "nobody",
      `${plural(rounds, "round")}, ${plural(counted, "update")}`,
      server
        ? `aggregator: lag ${timeOf(server.lag)}, ${(server.memory / 1e6).toFixed(0)} MB`
        : "aggregator: no metrics",
      ...(Object.keys(errors).length > 0 ? [`errors: ${kindsOf(errors, 3)}`] : []),
    );
  }

  /**
   * The clients of a round hear one after the other that it is committed, and before the next one
   * is.
   */
  async function lastAreTold(isOver: () => boolean): Promise<void> {
    for (let known = -1; !isOver(); await setTimeout(SILENCE)) {
      const { counted, rounds } = countsOf(recordings());
      if (counted === known || rounds > untilRounds) return;
      known = counted;
    }
  }

  try {
    let allLeft = false;
    void Promise.all(fleets.map(({ done }) => done)).then(() => (allLeft = true));
    const isOver = () => allLeft || signal.aborted || timeLeft() <= 0;
    const roundsAreDone = () => countsOf(recordings()).rounds >= untilRounds;
    await look();
    while (!isOver() && !roundsAreDone()) {
      const next = performance.now() + 1000;
      do await setTimeout(PAUSE);
      while (!isOver() && !roundsAreDone() && performance.now() < next);
      if (roundsAreDone()) await lastAreTold(isOver);
      await look();
    }
    const cpu = process.cpuUsage(cpuBefore);
    const recording = merged(recordings());
    const report = reportOf(
      load,
      recording,
      moments,
      (cpu.user + cpu.system) / 1e6,
      recording.rounds > 0 || recording.samples.connect.length === 0
        ? undefined
        : await serverWaitsFor({ url, token, ca }, patience()),
    );
    const { isTTY, columns } = process.stdout;
    view.say("report", { ...report }, textOf(report, isTTY ? columns : Infinity));
    if (page) {
      await page.truncate();
      await page.writeFile(htmlOf(report, recording, moments));
      view.say(
        "written",
        { report: settings.report },
        `The report with plots is in ${settings.report}.`,
      );
    }
    if (signal.aborted) return;
    requireReached(url, report, recording);
  } finally {
    for (const fleet of fleets) fleet.stop();
    for (const trainer of trainers) trainer.close();
    if (page) await page.close();
    view.close();
  }
}

/** Divides the clients among as many threads as asked for. */
function startFleets(
  { address: url, lightClients, processes: count, seed, ramp, onlySecure }: SettingsOf<"loadtest">,
  common: Pick<FleetOptions, "token" | "ca" | "profiles" | "update">,
): RunningFleet[] {
  const firstOf = (worker: number) => Math.floor((worker * lightClients) / count);
  return Array.from({ length: count }, (_, worker) => {
    const options: FleetOptions = {
      ...common,
      url,
      first: firstOf(worker),
      clients: firstOf(worker + 1) - firstOf(worker),
      seed: String(seed),
      secureOnly: onlySecure,
      ramp: 1000 * ramp,
    };
    return count === 1 ? startFleet(options) : startFleetInWorker(options);
  });
}

/** @throws ConfigError `unreachable` where the clients did not reach the aggregator, or lost it */
function requireReached(
  url: string,
  report: ReturnType<typeof reportOf>,
  recording: ReturnType<typeof merged>,
): void {
  if (report.times.connect === undefined) {
    const got = Object.keys(report.errors).join(", ");
    throw new ConfigError(
      "unreachable",
      got.includes("not-admitted")
        ? `"address" expected an aggregator that admits these clients, got ${url}, which does not (a closed lab's token goes into --token-file; enrolled clients' keys cannot be invented)`
        : `"address" expected an aggregator that takes clients at ${url}, got: ${got || `no answer in ${report.seconds.toFixed(1)} s`}`,
    );
  }
  const { dialling, ...up } = recording.states;
  if (dialling > 0 && Object.values(up).every((number) => number === 0))
    throw new ConfigError(
      "unreachable",
      `"address" expected an aggregator that is there until the end, got none at ${url}: all ${dialling} clients that had not finished were dialling`,
    );
}

/**
 * Bytes of this process; nothing where the system does not tell, as when no file can be opened any
 * more.
 */
function memoryNow(): number | undefined {
  try {
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}

/** What `--update` asks for; trainers are added to the list, for the caller to close. */
async function updatesOf(
  settings: SettingsOf<"loadtest">,
  trainers: Trainer[],
): Promise<UpdateKind> {
  const { update, recorded, trainOn, record, lightClients, seed, processes } = settings;
  const wrong = (flag: string, expected: string, got: string) =>
    new ConfigError("usage", `"--${flag}" expected ${expected}, got ${got}`);
  for (const [flag, given, kind] of [
    ["updates", recorded, "replay"],
    ["data", trainOn, "train"],
    ["record", record, "train"],
  ] as const)
    if (given !== undefined && update !== kind)
      throw wrong(flag, `--update ${kind} beside it`, update);
  if (update === "random") return { kind: "random" };
  if (update === "replay") {
    if (recorded === undefined)
      throw wrong("updates", `a folder with --update ${update}`, "nothing");
    const names = await readdir(recorded).catch(() => []);
    const blobs = await Promise.all(
      names
        .filter((name) => name.endsWith(".safetensors"))
        .sort()
        .map((name) => readFile(join(recorded, name))),
    );
    if (blobs.length === 0)
      throw wrong("updates", "a folder with .safetensors files", `none in "${recorded}"`);
    return { kind: "replay", blobs };
  }
  if (trainOn === undefined) throw wrong("data", `a data set with --update ${update}`, "nothing");
  if (processes !== 1)
    throw wrong(
      "workers",
      "1 with --update train, whose trainers have a thread for each core anyway",
      String(processes),
    );
  const opened = await openData(trainOn, openOptions(settings));
  const dataset = opened.train ?? opened.test!;
  const most = Math.min(lightClients, dataset.labels.length);
  const parts = splitRows(dataset, { kind: "iid" }, most, seed);
  if (record !== undefined) makeFolder(record);
  const platform = nodePlatform({ relaxedSimd: true });
  for (let i = 0; i < availableParallelism(); i++) trainers.push(trainerOf(platform.startWorker));
  return {
    kind: "train",
    trainers,
    parts: parts.map((rows) => holdOut({ dataset, rows }, HOLD_OUT, String(seed))),
    record:
      record === undefined
        ? undefined
        : (client, round, update) =>
            writeFile(join(record, `round-${round}-client-${client}.safetensors`), update),
  };
}
