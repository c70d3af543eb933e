import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { Aggregator } from "../aggregator/run/aggregator.js";
import { openPort } from "../aggregator/server/server.js";
import { runSettings } from "../aggregator/settings.js";
import { nodePlatform } from "../runtime/platform/node.js";
import { pick } from "../runtime/protocol/settings.js";
import type { Trainer } from "../runtime/training/job.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { openData } from "./data.js";
import {
  openAggregator,
  conclude,
  newRunFolder,
  watch,
  wholeOf,
  type Reports,
} from "./federation.js";
import { logInto } from "./log-file.js";
import { openMetrics } from "./metrics.js";
import { modelNamed } from "./model.js";
import { terminalChart } from "./plots/terminal-chart.js";
import type { SettingsOf } from "./settings.js";
import { openView, type View } from "./view.js";

const MAIN = fileURLToPath(new URL("./main.js", import.meta.url));

/** The part of Fashion-MNIST that comes with the package. */
const DATA = fileURLToPath(new URL("../../examples/data/fashion-mnist", import.meta.url));

/**
 * `fedflat demo` (`npm start`): an aggregator on loopback and clients in processes of their own
 * train on the data that come with the package, once without and once with the activation-norm
 * penalty.
 */
export async function demo(settings: SettingsOf<"demo">, signal: AbortSignal): Promise<void> {
  const folder = settings.run ?? newRunFolder();
  const view = openView(settings.json, { steady: true });
  const trainer = trainerOf(nodePlatform({ relaxedSimd: true }).startWorker);
  try {
    const federation = (zeta: number, name: string, port: number) =>
      train(settings, zeta, join(folder, name), port, trainer, view, signal);
    const { port, reports: plain } = await federation(0, "plain", 0);
    if (signal.aborted) return;
    const { reports: man } = await federation(settings.zeta, "man", port);
    if (signal.aborted) return;
    compare(view, settings.zeta, plain, man, join(folder, "man", "model"));
  } finally {
    trainer.close();
    view.close();
  }
}

/**
 * One federation, from the first client's start to the last one's end. Listens on that port, or on
 * any other where it is taken.
 */
async function train(
  settings: SettingsOf<"demo">,
  zeta: number,
  folder: string,
  port: number,
  trainer: Trainer,
  view: View,
  signal: AbortSignal,
): Promise<{ readonly port: number; readonly reports: Reports }> {
  const { clients, seed } = settings;
  const opened = await openData(DATA);
  const server = await openPort({ port }).catch(() => openPort({ port: 0 }));
  const page = server.url.replace(/^ws/, "http");
  const states = await mkdtemp(join(tmpdir(), "fedflat-demo-"));
  let children: Client[] = [];
  let running = true;
  try {
    const aggregator = await openAggregator({
      card: await modelNamed("fashion-small", opened),
      test: wholeOf(opened.test!),
      trainer,
      folder,
      config: { command: "demo" },
      log: logInto(join(folder, "log.jsonl")),
      settings: {
        ...pick(settings, runSettings),
        zeta,
        seed: String(seed),
        gather: clients,
        overSelection: 1,
        // A client that is killed costs a round three seconds, and a minute before the first.
        gatherDeadline: 60_000,
        quorum: 0.5,
        minimum: 1,
        absence: 3000,
        evaluateFraction: 0,
      },
    });
    server.serve(aggregator, openMetrics(aggregator));
    const run = watch(aggregator, view, true);
    view.say(
      "page",
      { page },
      server.port === port
        ? undefined
        : `Live page: ${page}\n${clients} client processes train twice, without MAN and with it; ${durationOf(settings)}.`,
    );
    showArrivals(aggregator, view, clients);
    children = Array.from({ length: clients }, (_, i) =>
      startClient(settings, i + 1, server.url, join(states, String(i + 1))),
    );
    const processes = children.map(({ process }) => process.pid);
    view.say(
      "federation",
      { zeta, url: server.url, processes, run: folder },
      `\n${zeta === 0 ? "Without MAN" : `With MAN, zeta ${zeta}`}. The client processes, of which you may kill one: ${processes.join(" ")}.`,
    );
    for (const [i, { ended }] of children.entries())
      void ended.then((how) => {
        if (how !== undefined && running && !signal.aborted)
          view.say(
            "client",
            { client: i + 1, ended: how },
            `Client process ${i + 1} is gone (${how}); the federation continues.`,
          );
      });
    await conclude(aggregator, view, folder, signal, run, {
      clients: "of their own",
    });
    running = false;
    return { port: server.port, reports: run.reports };
  } finally {
    await server.close();
    for (const { process } of children) process.kill();
    await Promise.all(children.map(({ ended }) => ended));
    await rm(states, { recursive: true });
  }
}

/** How many clients are there, until the first round begins. */
function showArrivals(aggregator: Aggregator, view: View, clients: number): void {
  const ready = new Set<string>();
  let begun = false;
  const show = () => {
    if (!begun)
      view.progress("starting", ready.size / clients, `${ready.size} of ${clients} clients`);
  };
  aggregator.on("opened", () => (begun = true));
  aggregator.on("client", ({ client, change }) => {
    if (change === "ready") ready.add(client);
    if (change === "left") ready.delete(client);
    show();
  });
  show();
}

/**
 * Seconds on two cores, with some room: a pass of all clients over their data, and a client's
 * start.
 */
const [A_PASS, A_START] = [2.5, 1];

/** How long both federations take, about. */
function durationOf({ clients, rounds, localEpochs }: SettingsOf<"demo">): string {
  const minutes = (2 * (rounds * localEpochs * A_PASS + clients * A_START)) / 60;
  if (minutes <= 1) return "a minute at most on two cores";
  return `about ${Math.round(minutes)} minutes on two cores`;
}

interface Client {
  readonly process: ChildProcess;
  /** Resolves at the end of the process: with what ended it, where it was not its own doing. */
  readonly ended: Promise<string | undefined>;
}

function startClient(
  { clients, split, seed }: SettingsOf<"demo">,
  index: number,
  url: string,
  state: string,
): Client {
  const process = spawn(
    globalThis.process.execPath,
    [
      ...[MAIN, "join", "--url", url, "--state", state, "--hold-out", "0"],
      ...["--data", DATA, "--split", split, "--part", `${index}/${clients}`],
      ...["--seed", String(seed), "--lab-identity", `${seed}:${index}`],
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let complaint = "";
  process.stderr!.on("data", (data) => (complaint = String(data).trim()));
  const ended = once(process, "close").then(([code, killed]) => {
    if (code === 0) return undefined;
    return complaint || `${killed ?? `exit code ${code}`}`;
  });
  return { process, ended };
}

function compare(view: View, zeta: number, plain: Reports, man: Reports, model: string): void {
  const [without, withMan] = [plain, man].map((reports) =>
    reports.flatMap(({ accuracy }) => (accuracy === undefined ? [] : [100 * accuracy])),
  );
  const name = `with MAN, zeta ${zeta}`;
  const chart = terminalChart(
    [
      { mark: "o", name: "without MAN", points: without },
      { mark: "x", name, points: withMan },
    ],
    Math.min(72, (process.stdout.columns ?? 80) - 1),
  );
  view.draw(`\nTest accuracy (%) by round\n\n${chart}\n`);
  const [before, after] = [without, withMan].map((curve) => curve.at(-1) ?? NaN);
  view.say(
    "compared",
    { plain: before / 100, man: after / 100, zeta, model },
    [
      `Test accuracy: ${before.toFixed(1)} % without MAN, ${after.toFixed(1)} % ${name}.`,
      `The model is in ${model}. To use it:`,
      `  ${commandLine("predict", "--model", model, "--data", relative(process.cwd(), DATA))}`,
    ].join("\n"),
  );
}

/**
 * The command as it can be typed here: by its file in the repository, by npx where fedflat is
 * installed.
 */
const commandLine = (...args: readonly string[]): string =>
  [
    ...(MAIN.includes("node_modules")
      ? ["npx", "fedflat"]
      : ["node", relative(process.cwd(), MAIN)]),
    ...args,
  ]
    .map((word) => (/^[\w./:\\+-]+$/.test(word) ? word : `"${word}"`))
    .join(" ");
