import { join as inFolder } from "node:path";
import { ConfigError, ProtocolError } from "../runtime/errors.js";
import type { Part } from "../runtime/data/dataset.js";
import { parseSplit, splitRows } from "../runtime/data/split.js";
import { FederatedClient } from "../runtime/client.js";
import { figureText } from "../runtime/models/figure-text.js";
import { metricReader } from "../runtime/models/metrics/built-in.js";
import { labIdentity } from "../runtime/platform/node-identity.js";
import { nodePlatform } from "../runtime/platform/node.js";
import { ownAlgorithm } from "./algorithm.js";
import { openData, openOptions } from "./data.js";
import { personaliseOne, personaliseOptions } from "./personal.js";
import { proxyFor } from "./proxy.js";
import type { SettingsOf } from "./settings.js";
import { readTls, readToken } from "./token.js";
import { crowdView } from "./crowd.js";
import { openView, type View } from "./view.js";

/** `fedflat join`: one client with its own data, until the run ends. */
export async function join(settings: SettingsOf<"join">, signal: AbortSignal): Promise<void> {
  const { url, state, limits, holdOut, patience, tokenFile } = settings;
  const lab = settings.labIdentity;
  const proxy = proxyFor(url);
  const own = await Promise.all(settings.algorithmFiles.map(ownAlgorithm));
  const client = new FederatedClient(
    {
      url,
      state,
      data: await ownPart(settings),
      algorithms: own.filter((algorithm) => algorithm !== undefined),
      limits,
      holdOut,
      tls: await readTls(settings),
      token: tokenFile && (await readToken(tokenFile)),
      secureOnly: settings.secureOnly,
      patience: patience === 0 ? undefined : 1000 * patience,
    },
    nodePlatform({
      identity: lab && labIdentity(lab.seed, lab.index),
      relaxedSimd: true,
      agent: proxy?.agent,
    }),
  );
  const view = crowdView(openView(settings.json), {
    wait: 200,
    notice: 200,
    problem: 200,
    assignment: 800,
  });
  signal.addEventListener("abort", () => void client.stop());
  show(client, view, proxy === undefined ? url : `${url} through the proxy ${proxy.name}`);
  try {
    const { reason, message, model } = await client.run();
    if (reason === "stopped")
      view.say(
        "stopped",
        { state },
        `Stopped. The client's key and unfinished work are in ${state}.`,
      );
    else if (reason === "finished") {
      view.say("finished", { message }, `The run is finished. ${message}`);
      const tuning = personaliseOptions(settings);
      if (tuning !== undefined && model !== undefined) {
        const { sentence, ...worth } = await personaliseOne(client, tuning, metricReader(model));
        const file = inFolder(state, "personal");
        view.say("personalised", { ...worth, file }, `${sentence} It is in ${file}.`);
      }
    } else if (reason === "unreachable")
      throw new ProtocolError(
        reason,
        `"--url" expected an aggregator at ${url}, got none for ${patience} s: ${message}`,
      );
    else
      throw new ProtocolError(
        reason,
        `"--url" expected an aggregator that takes this client at ${url}, got ${reason}: ${message}`,
      );
  } finally {
    view.close();
  }
}

/** This client's part of the data that `--data` names. */
async function ownPart(settings: SettingsOf<"join">): Promise<Part> {
  const { data, split, part, seed } = settings;
  const opened = await openData(data, openOptions(settings));
  const dataset = opened.train ?? opened.test!;
  if (part === undefined) {
    if (split !== undefined) throw new ConfigError("usage", `"--split" expected --part beside it`);
    const rows = Uint32Array.from(dataset.labels, (_, row) => row);
    return { dataset, rows };
  }
  const how = parseSplit(split ?? "iid");
  const parts = splitRows(dataset, how, part.n, seed);
  return { dataset, rows: parts[part.k - 1] };
}

function show(client: FederatedClient, view: View, where: string): void {
  client.on("line", ({ up, reason, retryIn }) =>
    view.say(
      "line",
      { up, reason, retryIn },
      up
        ? `Connected to ${where}.`
        : `No line to ${where} (${reason}); trying again in ${((retryIn ?? 0) / 1000).toFixed(1)} s.`,
    ),
  );
  client.on("progress", ({ round, epoch, batch, batches, loss }) =>
    view.progress(`round ${round}`, batch / batches, `epoch ${epoch}, loss ${figureText(loss)}`),
  );
  client.on("assignment", (event) => {
    const { round, what, code, message } = event;
    const sentence = {
      accepted: undefined,
      resumed: `continues where it was cut, ${message}`,
      dropped: `a half-trained round was kept but cannot be used, ${message}; training begins at the first batch`,
      offered: "trained, the update is on its way",
      received: undefined,
      committed: "the update is in the model",
      reported: "evaluated",
      declined: `declined (${code}): ${message}`,
      failed: `failed (${code}): ${message}`,
      refused: `the update was not taken (${code}): ${message}`,
    }[what];
    view.say(
      "assignment",
      event,
      sentence && `${round === undefined ? "An assignment" : `Round ${round}`}: ${sentence}.`,
    );
  });
  client.on("wait", ({ reason }) => view.say("wait", { reason }, `Waiting: ${reason}`));
  client.on("notice", ({ message }) => view.say("notice", { message }, `${message}.`));
  client.on("problem", ({ message }) => view.say("problem", { message }, `Problem: ${message}`));
}
