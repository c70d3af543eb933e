import { join } from "node:path";
import type { Aggregator } from "../aggregator/run/aggregator.js";
import type { Admission } from "../aggregator/sessions/authentication.js";
import { openKeyRing } from "../aggregator/sessions/enrolment.js";
import { keepYoungSmall } from "../aggregator/memory.js";
import { hasRun } from "../aggregator/storage/run-folder.js";
import { openPort } from "../aggregator/server/server.js";
import { matched } from "../runtime/data/matching.js";
import { ConfigError } from "../runtime/errors.js";
import { expectedBy } from "../runtime/models/model.js";
import { nodePlatform } from "../runtime/platform/node.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { ownAlgorithm } from "./algorithm.js";
import { crowdView } from "./crowd.js";
import { openData, openOptions } from "./data.js";
import {
  openAggregator,
  conclude,
  isTestedBy,
  keepsOwn,
  newRunFolder,
  roundSettings,
  sayTerms,
  watch,
  wholeOf,
} from "./federation.js";
import { logInto } from "./log-file.js";
import { openMetrics } from "./metrics.js";
import { modelNamed, presetFor } from "./model.js";
import { remarkOn, remarkOnModel } from "./remarks.js";
import type { SettingsOf } from "./settings.js";
import { readTls, readToken } from "./token.js";
import { writeTensorBoard } from "./tensorboard.js";
import { openView, type View } from "./view.js";

/** `fedflat serve`: an aggregator on a port, until its rounds are done. */
export async function serve(settings: SettingsOf<"serve">, signal: AbortSignal): Promise<void> {
  keepYoungSmall();
  const folder = settings.run ?? newRunFolder();
  const { test } = settings;
  const { cert, key, ca, crl } = (await readTls(settings)) ?? {};
  if (settings.resumeOrStart && settings.run === undefined)
    throw new ConfigError("usage", `"--resume-or-start" expected --run beside it`);
  if (ca !== undefined && cert === undefined)
    throw new ConfigError("usage", `"--tls-ca" expected --tls-cert beside it`);
  const { adminTokenFile, hold } = settings;
  const adminToken = adminTokenFile && (await readToken(adminTokenFile, "admin-token-file"));
  if (hold && adminToken === undefined)
    throw new ConfigError(
      "usage",
      `"--hold" expected --admin-token-file beside it: somebody has to start the run`,
    );
  const opened = test === undefined ? undefined : await openData(test, openOptions(settings));
  const card = await modelNamed(settings.model ?? presetFor(opened), opened, settings);
  const given = opened?.test ?? opened?.train;
  const dataset = given && matched("--test", given, expectedBy(card));
  const isTested = isTestedBy(dataset, card, settings);
  const algorithm = await ownAlgorithm(settings.algorithm);
  const rounds = roundSettings(settings, isTested && !keepsOwn(algorithm, settings.algorithm));
  const trainer = trainerOf(nodePlatform({ relaxedSimd: true }).startWorker);
  // What the run waits for changes with every word of a client.
  const view = crowdView(openView(settings.json), { waiting: 200 });
  const admission = await admissionOf(settings);
  // Bind the port first: a port in use then leaves no empty run folder.
  const server = await openPort({
    admission,
    host: settings.host,
    port: settings.port,
    hosts: settings.publicName,
    trustedProxies: settings.trustedProxy,
    origins: settings.allowOrigin,
    openToAll: settings.openToAll,
    publicModels: settings.publicModels,
    adminToken,
    healthPort: settings.healthPort,
    tls: cert && key ? { cert, key, ca, crl } : undefined,
  });
  try {
    const aggregator = await openAggregator({
      card,
      algorithm,
      test: dataset && wholeOf(dataset),
      flatnessEvery: settings.flatnessEvery,
      trainer,
      folder,
      resume: settings.resume || (settings.resumeOrStart && hasRun(folder)),
      hold,
      config: { command: "serve", test },
      log: logInto(settings.log ?? join(folder, "log.jsonl"), 1e6 * settings.logSize),
      admission,
      settings: rounds,
    });
    server.serve(aggregator, openMetrics(aggregator));
    remarkOnModel(view, card);
    if (dataset !== undefined) remarkOn(view, settings.test ?? "", dataset, aggregator);
    // Workers undo it: the one that folds, and the one of an evaluation.
    keepYoungSmall();
    aggregator.on("round", keepYoungSmall);
    view.say(
      "listening",
      { url: server.url, run: folder, healthPort: server.healthPort },
      `Listening at ${server.url}; the run is in ${folder}.\nA client joins with: ${joinLine(settings, server.url)}\nTo watch it: ${server.url.replace(/^ws/, "http")}`,
    );
    sayRefusals(aggregator, view);
    const run = watch(aggregator, view, isTested);
    sayTerms(aggregator, view, isTested);
    if (settings.tensorboard !== undefined) writeTensorBoard(aggregator, settings.tensorboard);
    aggregator.on("waiting", (reason) => view.say("waiting", { reason }));
    let connected = 0;
    /**
     * Those who have said why they are busy: said once for each line, however often they say it.
     */
    const busy = new Set<string>();
    aggregator.on("client", ({ client, change, reason }) => {
      if (change === "joined" || change === "left") busy.delete(client);
      if (change === "busy" && reason && !busy.has(client)) {
        busy.add(client);
        const sentence = `Client ${client.slice(0, 8)} cannot train now: ${reason}.`;
        view.say("client", { client, change, reason, connected }, sentence);
      }
      if (change !== "joined" && change !== "left") return;
      connected += change === "joined" ? 1 : -1;
      view.say(
        "client",
        { client, change, reason, connected },
        `Client ${client.slice(0, 8)} ${change}${reason ? `: ${reason}` : ""} (${connected} connected).`,
      );
    });
    await conclude(aggregator, view, folder, signal, run, {
      clients: "of their own",
      grace: 1000 * settings.grace,
    });
    // A service that was asked to end, and did what it should, has not failed.
    if (signal.reason === "SIGTERM") process.exitCode = 0;
  } finally {
    await server.close();
    trainer.close();
    view.close();
  }
}

/** What a client's terminal is told to type. */
function joinLine(
  { publicName: [name], tlsCert, tlsCa, keys, tokenFile }: SettingsOf<"serve">,
  listening: string,
): string {
  // A name without a port is a scheme's own; without TLS here a proxy has it.
  const secure = tlsCert !== undefined || (name !== undefined && !/:\d+$/.test(name));
  const url = name === undefined ? listening : `${secure ? "wss" : "ws"}://${name}`;
  const more = [
    keys !== undefined || tokenFile !== undefined ? " --token-file FILE" : "",
    tlsCa === undefined ? "" : " --tls-cert FILE --tls-key FILE",
  ];
  return `fedflat join --url ${url} --data PATH${more.join("")}`;
}

/** Milliseconds in which one reason is reported once. */
const SAID = 60_000;

/** Says whom the server turns away, so that a flood does not fill the terminal. */
function sayRefusals(aggregator: Aggregator, view: View): void {
  const said = new Map<string, { at: number; count: number }>();
  aggregator.on("turnedAway", ({ reason, address }) => {
    const now = performance.now();
    // What it says of the client itself is not the kind.
    const kind = reason.replace(/[, ]*got .*|^(host|origin) .*/, "$1");
    const last = said.get(kind);
    if (last !== undefined && now - last.at < SAID) return void last.count++;
    if (last === undefined && said.size >= 100) return;
    const before = last?.count ? ` (${last.count} more since the last time)` : "";
    said.set(kind, { at: now, count: 0 });
    const shown = reason.length > 200 ? `${reason.slice(0, 200)}...` : reason;
    view.say("turned-away", { address, reason: shown }, `Refused ${address}: ${shown}${before}.`);
  });
}

/** Who is admitted: the enrolled, those who have the token or, on loopback, anybody. */
async function admissionOf({ keys, tokenFile }: SettingsOf<"serve">): Promise<Admission> {
  if (keys !== undefined && tokenFile !== undefined)
    throw new ConfigError(
      "usage",
      "--keys cannot be used with --token-file: with keys every client has a token of its own",
    );
  if (keys !== undefined) return { kind: "enrolled", keys: await openKeyRing(keys) };
  if (tokenFile !== undefined) return { kind: "token", token: await readToken(tokenFile) };
  return { kind: "any" };
}
