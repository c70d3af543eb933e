import { appendFile, readdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { ConfigError } from "../runtime/errors.js";
import { splitRows } from "../runtime/data/split.js";
import { nodePlatform } from "../runtime/platform/node.js";
import type { Trainer } from "../runtime/training/job.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { openData } from "./data.js";
import {
  startFleet,
  type FleetOptions,
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
import { serverFigures } from "./loadtest/server-figures.js";
import type { SettingsOf } from "./settings.js";
import { readToken } from "./token.js";
import { openView } from "./view.js";

/** `fedflat loadtest`: light clients against an aggregator, for a bounded time. */
export async function loadtest(
  settings: SettingsOf<"loadtest">,
  signal: AbortSignal,
): Promise<void> {
  const { address: url, lightClients: clients, duration } = settings;
  const { tokenFile, tlsCa, untilRounds = Infinity } = settings;
  const profiles = readFleet(settings.profiles);
  const token = tokenFile && (await readToken(tokenFile));
  const ca = tlsCa && (await readPem(tlsCa));
  const trainers: Trainer[] = [];
  const update = await updatesOf(settings, trainers);
  // A file that cannot be written is told now, when all else is in order, and not when the test is over.
  if (settings.report !== undefined) await appendFile(settings.report, "");
  const count = settings.processes;
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

  const part = (worker: number): FleetOptions => ({
    url,
    token,
    ca,
    first: Math.floor((worker * clients) / count),
    clients:
      Math.floor(((worker + 1) * clients) / count) -
      Math.floor((worker * clients) / count),
    seed: String(settings.seed),
    profiles,
    update,
    ramp: 1000 * settings.ramp,
  });
  const fleets = Array.from({ length: count }, (_, worker) =>
    count === 1 ? startFleet(part(0)) : startFleetInWorker(part(worker)),
  );
  const recordings = () => fleets.map(({ recording }) => recording);

  async function look(): Promise<void> {
    const server = await serverFigures(url, { token, ca });
    const { states, counted, rounds, errors } = countsOf(recordings());
    const seconds = (performance.now() - begun) / 1000;
    const memory = process.memoryUsage.rss();
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
      ...(Object.keys(errors).length > 0
        ? [`errors: ${kindsOf(errors, 3)}`]
        : []),
    );
  }

  try {
    let over = false;
    const ends = Promise.all(fleets.map(({ done }) => done)).then(
      () => (over = true),
    );
    await look();
    while (!over && !signal.aborted) {
      const left = 1000 * duration - (performance.now() - begun);
      if (left <= 0) break;
      if (countsOf(recordings()).rounds >= untilRounds) break;
      await Promise.race([ends, setTimeout(Math.min(1000, left))]);
      await look();
    }
    const cpu = process.cpuUsage(cpuBefore);
    const recording = merged(recordings());
    const report = reportOf(
      load,
      recording,
      moments,
      (cpu.user + cpu.system) / 1e6,
    );
    const { isTTY, columns } = process.stdout;
    view.say("report", { ...report }, textOf(report, isTTY ? columns : 80));
    if (settings.report !== undefined) {
      await writeFile(settings.report, htmlOf(report, recording, moments));
      view.say(
        "written",
        { report: settings.report },
        `The report with plots is in ${settings.report}.`,
      );
    }
    if (signal.aborted) return;
    if (report.times.connect === undefined)
      throw new ConfigError(
        "unreachable",
        `"address" expected an aggregator that takes clients at ${url}, got: ${Object.keys(report.errors).join(", ") || "no answer"}`,
      );
    const { dialling, ...up } = recording.states;
    if (dialling > 0 && Object.values(up).every((number) => number === 0))
      throw new ConfigError(
        "unreachable",
        `"address" expected an aggregator that is there until the end, got none at ${url}: all ${dialling} clients that had not finished were dialling`,
      );
  } finally {
    for (const fleet of fleets) fleet.stop();
    for (const trainer of trainers) trainer.close();
    view.close();
  }
}

async function readPem(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch {
    throw new ConfigError(
      "usage",
      `"--tls-ca" expected a file that can be read, got "${file}"`,
    );
  }
}

/** What `--update` asks for; trainers are added to the list, for the caller to close. */
async function updatesOf(
  settings: SettingsOf<"loadtest">,
  trainers: Trainer[],
): Promise<UpdateKind> {
  const { update, recorded, trainOn, lightClients, seed, processes } = settings;
  const needs = (flag: string, what: string) =>
    new ConfigError(
      "usage",
      `"--${flag}" expected ${what} with --update ${update}, got nothing`,
    );
  if (update === "random") return { kind: "random" };
  if (update === "replay") {
    if (recorded === undefined) throw needs("updates", "a folder of updates");
    const names = await readdir(recorded);
    const blobs = await Promise.all(
      names
        .filter((name) => name.endsWith(".safetensors"))
        .sort()
        .map((name) => readFile(join(recorded, name))),
    );
    if (blobs.length === 0)
      throw new ConfigError(
        "usage",
        `"--updates" expected a folder with .safetensors files, got none in "${recorded}"`,
      );
    return { kind: "replay", blobs };
  }
  if (trainOn === undefined) throw needs("data", "a data set");
  if (processes !== 1)
    throw new ConfigError(
      "usage",
      `"--workers" expected 1 with --update train, whose trainers have a thread for each core anyway, got ${processes}`,
    );
  const opened = await openData(trainOn, {});
  const dataset = opened.train ?? opened.test!;
  const most = Math.min(lightClients, dataset.labels.length);
  const rows = splitRows(dataset, { kind: "iid" }, most, seed);
  const platform = nodePlatform({ relaxedSimd: true });
  for (let i = 0; i < availableParallelism(); i++)
    trainers.push(trainerOf(platform.startWorker));
  return {
    kind: "train",
    trainers,
    parts: rows.map((rows) => ({ dataset, rows })),
  };
}
