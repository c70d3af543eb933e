import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import asciichart from "asciichart";
import { listen } from "../aggregator/server/server.js";
import { nodePlatform } from "../runtime/platform/node.js";
import type { Trainer } from "../runtime/training/job.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { openData } from "./data.js";
import {
  aggregatorOf,
  conclude,
  logInto,
  newRunFolder,
  watch,
  wholeOf,
  type Reports,
} from "./federation.js";
import { modelNamed } from "./model.js";
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
  const view = openView(settings.json);
  const trainer = trainerOf(nodePlatform({ relaxedSimd: true }).startWorker);
  try {
    const federation = (zeta: number, name: string) =>
      train(settings, zeta, join(folder, name), trainer, view, signal);
    const plain = await federation(0, "plain");
    if (signal.aborted) return;
    const man = await federation(settings.zeta, "man");
    if (signal.aborted) return;
    compare(view, settings.zeta, plain, man, join(folder, "man", "model"));
  } finally {
    trainer.close();
    view.close();
  }
}

/** One federation, from the first client's start to the last one's end. */
async function train(
  settings: SettingsOf<"demo">,
  zeta: number,
  folder: string,
  trainer: Trainer,
  view: View,
  signal: AbortSignal,
): Promise<Reports> {
  const { clients, rounds, localEpochs, seed } = settings;
  const opened = await openData(DATA);
  const aggregator = aggregatorOf({
    card: await modelNamed("fashion-small", opened),
    test: wholeOf(opened.test!),
    trainer,
    folder,
    config: { command: "demo" },
    log: logInto(join(folder, "log.jsonl")),
    settings: {
      zeta,
      rounds,
      localEpochs,
      seed: String(seed),
      gather: clients,
      overSelection: 1,
      // A client that is killed costs the round three seconds, and no more.
      quorum: 0.5,
      minimum: 1,
      absence: 3000,
      evaluateFraction: 0,
    },
  });
  const server = await listen(aggregator, { port: 0 });
  const states = await mkdtemp(join(tmpdir(), "fedflat-demo-"));
  let children: Client[] = [];
  let running = true;
  try {
    await aggregator.start();
    const run = watch(aggregator, view, true);
    children = Array.from({ length: clients }, (_, i) =>
      startClient(settings, i + 1, server.url, join(states, String(i + 1))),
    );
    const processes = children.map(({ process }) => process.pid);
    view.say(
      "federation",
      { zeta, url: server.url, processes, run: folder },
      `\n${zeta === 0 ? "Without MAN" : `With MAN, zeta ${zeta}`}: ${clients} client processes train with the aggregator at ${server.url}.`,
    );
    for (const [i, { ended }] of children.entries())
      void ended.then((how) => {
        if (how !== undefined && running && !signal.aborted)
          view.say(
            "client",
            { client: i + 1, ended: how },
            `Client process ${i + 1} is gone (${how}); the federation goes on.`,
          );
      });
    await conclude(aggregator, view, folder, signal, run, {
      clients: "of their own",
    });
    running = false;
    return run.reports;
  } finally {
    await server.close();
    for (const { process } of children) process.kill();
    await Promise.all(children.map(({ ended }) => ended));
    await rm(states, { recursive: true });
  }
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

/** Width and height of the drawing, in characters. */
const [WIDTH, HEIGHT] = [60, 12];

function compare(view: View, zeta: number, plain: Reports, man: Reports, model: string): void {
  const curves = [plain, man].map((reports) =>
    reports.flatMap(({ accuracy }) => (accuracy === undefined ? [] : [100 * accuracy])),
  );
  const names = ["without MAN", `with MAN, zeta ${zeta}`];
  const colors = [asciichart.blue, asciichart.green];
  const coloured = (i: number) =>
    process.stdout.isTTY ? `${colors[i]}${names[i]}${asciichart.reset}` : names[i];
  const draw = (lines: number[][], title: string, colors?: string[]) =>
    view.draw(
      `\nTest accuracy (%) of rounds 1 to ${lines[0].length}, ${title}\n\n${asciichart.plot(
        lines.map((line) => stretched(line, WIDTH)),
        {
          height: HEIGHT,
          colors,
          format: (value) => value.toFixed(1).padStart(6),
        },
      )}\n`,
    );
  if (process.stdout.isTTY) draw(curves, `${coloured(0)} and ${coloured(1)}`, colors);
  else curves.forEach((curve, i) => draw([curve], names[i]));

  const [before, after] = curves.map((curve) => curve.at(-1) ?? NaN);
  view.say(
    "compared",
    { plain: before / 100, man: after / 100, zeta, model },
    [
      `Test accuracy: ${before.toFixed(1)} % ${names[0]}, ${after.toFixed(1)} % ${names[1]}.`,
      `The model is in ${model}. To use it:`,
      `  node dist/cli/main.js predict --model ${model} --data ${relative(process.cwd(), DATA)}`,
    ].join("\n"),
  );
}

/** The curve through these points, drawn that wide. */
function stretched(points: readonly number[], width: number): number[] {
  const last = points.length - 1;
  return Array.from({ length: width }, (_, column) => {
    const at = (last * column) / (width - 1);
    const left = Math.min(Math.floor(at), Math.max(0, last - 1));
    const right = Math.min(left + 1, last);
    return points[left] + (at - left) * (points[right] - points[left]);
  });
}
