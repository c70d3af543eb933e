import { createRequire } from "node:module";
import { join } from "node:path";
import { listen } from "../aggregator/server.js";
import { nodePlatform } from "../runtime/platform/node.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { ownAlgorithm } from "./algorithm.js";
import { openData } from "./data.js";
import {
  aggregatorOf,
  conclude,
  logInto,
  newRunFolder,
  roundSettings,
  watch,
  wholeOf,
} from "./federation.js";
import { modelNamed } from "./model.js";
import type { SettingsOf } from "./settings.js";
import { readToken } from "./token.js";
import { openView } from "./view.js";

/** `fedflat serve`: an aggregator on a port, until its rounds are done. */
export async function serve(
  settings: SettingsOf<"serve">,
  signal: AbortSignal,
): Promise<void> {
  const folder = settings.run ?? newRunFolder();
  const { test, shape, tokenFile } = settings;
  const opened =
    test === undefined ? undefined : await openData(test, { shape });
  const dataset = opened?.test ?? opened?.train;
  const given = roundSettings(settings, dataset !== undefined);
  const trainer = trainerOf(nodePlatform({ relaxedSimd: true }).startWorker);
  const view = openView(settings.json);
  const aggregator = aggregatorOf({
    card: await modelNamed(settings.model, opened),
    algorithm: await ownAlgorithm(settings.algorithm),
    test: dataset && wholeOf(dataset),
    trainer,
    folder,
    resume: settings.resume,
    config: { command: "serve", test },
    log: logInto(settings.log ?? join(folder, "log.jsonl")),
    admission:
      tokenFile === undefined
        ? { kind: "any" }
        : { kind: "token", token: await readToken(tokenFile) },
    settings: {
      ...given,
      gather: settings.gather,
      minimum: settings.minimum,
      overSelection: settings.overSelection,
      quorum: settings.quorum,
      deadline: Math.round(1000 * settings.deadline),
      absence: Math.round(1000 * settings.absence),
      maxNorm: settings.maxNorm,
    },
  });
  // The port first: where it is not to be had, no run's folder is left behind.
  const server = await listen(aggregator, {
    host: settings.host,
    port: settings.port,
    hosts: settings.publicName,
    origins: settings.allowOrigin,
    openToAll: settings.openToAll,
    publicModels: settings.publicModels,
  });
  try {
    await aggregator.start();
    view.say(
      "listening",
      { url: server.url, run: folder },
      `Listening at ${server.url}; the run is in ${folder}.\nA client joins with: fedflat join --url ${server.url} --data PATH`,
    );
    if (!installed("bufferutil"))
      view.say(
        "note",
        { missing: "bufferutil" },
        "Package bufferutil is not installed: with hundreds of clients it saves processor time (docs/operations.md).",
      );
    const evaluated = dataset !== undefined || given.evaluateFraction > 0;
    const run = watch(aggregator, view, evaluated);
    aggregator.on("waiting", (reason) => view.say("waiting", { reason }));
    let connected = 0;
    aggregator.on("client", ({ client, change, reason }) => {
      if (change !== "joined" && change !== "left") return;
      connected += change === "joined" ? 1 : -1;
      view.say(
        "client",
        { client, change, reason, connected },
        `Client ${client.slice(0, 8)} ${change}${reason ? `: ${reason}` : ""} (${connected} connected).`,
      );
    });
    await conclude(aggregator, view, folder, signal, run, "of their own");
  } finally {
    await server.close();
    trainer.close();
    view.close();
  }
}

function installed(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
}
