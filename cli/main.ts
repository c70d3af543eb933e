#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { FedflatError } from "../runtime/errors.js";
import { inWords } from "../runtime/platform/system-errors.js";
import { printableLines } from "../runtime/protocol/printable.js";
import { COMMANDS, type CommandName } from "./flags.js";
import { addOptions, givenTo, readSettings, type SettingsOf } from "./settings.js";

/** The work of a command. It ends soon after `signal` aborts, and says where the state is. */
type Work<C extends CommandName> = (settings: SettingsOf<C>, signal: AbortSignal) => Promise<void>;

interface Entry<C extends CommandName> {
  readonly summary: string;
  readonly examples: readonly string[];
  /** Loads the command's file only when it is asked for: a client need not load the aggregator. */
  load(): Promise<Work<C>>;
}

const ENTRIES: { readonly [C in CommandName]?: Entry<C> } = {
  experiment: {
    summary:
      "A grid of simulated federations from one file: tables and pictures; goes on where it was stopped",
    examples: [
      "examples/experiments/scaled.json",
      "examples/experiments/paper-cifar-100.json --data cifar-100-binary --parallel 16 --out results/cifar-100",
    ],
    load: async () => (await import("./experiment.js")).experiment,
  },
  flatness: {
    summary:
      "Largest eigenvalues and trace of the Hessian at a run's model, and the loss around it",
    examples: [
      "--model runs/demo/man/model --data examples/data/fashion-mnist --top 5",
      "--model runs/demo/man/model --data examples/data/fashion-mnist --samples 1000 --per-layer --slice",
    ],
    load: async () => (await import("./flatness.js")).flatness,
  },
  serve: {
    summary: "The aggregator of a run, on a port",
    examples: [
      "--model fashion-small --rounds 20 --gather 10 --test examples/data/fashion-mnist",
      "--model sensor --algorithm fedsam+fedadam --set rho=0.05 --run runs/watches",
      "--host 0.0.0.0 --token-file token.txt --public-name fl.example.org:7400",
      "--run runs/watches --model sensor --resume",
    ],
    load: async () => (await import("./serve.js")).serve,
  },
  join: {
    summary: "One client, with its own data",
    examples: [
      "--url ws://127.0.0.1:7400 --data my-data.csv",
      "--url wss://fl.example.org --token-file token.txt --data readings.npz --state /var/lib/fedflat --patience 0",
      "--data examples/data/fashion-mnist --split dirichlet:0.3 --part 3/10 --lab-identity 1:3",
    ],
    load: async () => (await import("./join.js")).join,
  },
  simulate: {
    summary: "A whole federation in this process and its workers",
    examples: [
      "--data examples/data/fashion-mnist --split dirichlet:0.3 --clients 10 --rounds 15",
      "--data uci-har.npz --model sensor --split groups --rounds 20",
      "--data cifar-100-binary --model cifar --split dirichlet:0.3 --clients 100 --fraction 0.1 --bernoulli --augment",
    ],
    load: async () => (await import("./simulate.js")).simulate,
  },
  predict: {
    summary: "Class names and probabilities of every example, and the accuracy",
    examples: [
      "--model runs/demo/man/model --data examples/data/fashion-mnist > predictions.csv",
      "--model runs/demo/man/model --data examples/data/fashion-mnist --json",
    ],
    load: async () => (await import("./predict.js")).predict,
  },
  status: {
    summary: "What an aggregator waits for, in a sentence, and its clients",
    examples: ["127.0.0.1:7400", "fl.example.org --token-file admin.txt --json"],
    load: async () => (await import("./status.js")).status,
  },
  enroll: {
    summary: "A one-time token with which one client enrols its key",
    examples: ["--keys /etc/fedflat/keys --label ward-3 --valid 2 > token.txt"],
    load: async () => (await import("./enroll.js")).enroll,
  },
  keys: {
    summary: "The keys of enrolled clients",
    examples: [
      "list --keys /etc/fedflat/keys",
      "revoke --client ID --keys /etc/fedflat/keys",
      "revoke --token ID",
    ],
    load: async () => (await import("./keys.js")).keys,
  },
  demo: {
    summary:
      "Ten client processes train on the data that come with the package, without and with MAN",
    examples: ["", "--clients 3 --rounds 2", "--zeta 0.6 --local-epochs 2"],
    load: async () => (await import("./demo.js")).demo,
  },
  loadtest: {
    summary:
      "Thousands of light clients against an aggregator: how long everything takes, and what goes wrong",
    examples: [
      "ws://127.0.0.1:7400 --clients 1000 --rounds 3",
      "wss://fl.example.org --token-file token.txt --clients 2000 --profiles phone:80,gateway:15,flaky-rural:5 --ramp 60 --duration 600 --report load.html",
      "ws://127.0.0.1:7400 --clients 50 --update train --data examples/data/fashion-mnist",
    ],
    load: async () => (await import("./loadtest.js")).loadtest,
  },
};

const EXIT_CODES =
  "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM.";

const STOPPED = { SIGINT: 130, SIGTERM: 143 } as const;

/** Runs a command until its end or a signal; a second signal ends the process at once. */
async function conduct<C extends CommandName>(
  entry: Entry<C>,
  settings: SettingsOf<C>,
): Promise<void> {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const)
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(STOPPED[name]);
      process.exitCode = STOPPED[name];
      stop.abort(name);
    });
  await (
    await entry.load()
  )(settings, stop.signal);
}

/** What the system did not let us do, as a sentence; nothing for other errors. */
function systemSentence(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("syscall" in error)) return undefined;
  const { path } = error as NodeJS.ErrnoException;
  return path === undefined
    ? error.message
    : `"${path}" expected a place that can be read and written, got ${inWords(error)}`;
}

/**
 * One sentence on standard error, and the exit code. A defect of ours shows its trace when asked.
 */
function fail(error: unknown): void {
  if (error instanceof CommanderError) {
    // Commander has printed it.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  const expected = error instanceof FedflatError ? error.message : systemSentence(error);
  const sentence =
    expected ??
    `unexpected: ${error instanceof Error ? error.message : String(error)} (run again with FEDFLAT_TRACE=1 to see where)`;
  process.stderr.write(`fedflat: ${printableLines(sentence)}\n`);
  if (process.env.FEDFLAT_TRACE && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exitCode = error instanceof FedflatError && error.code === "usage" ? 2 : 1;
}

function add<C extends CommandName>(program: Command, name: C): void {
  const entry = ENTRIES[name];
  if (entry === undefined) return;
  const command = program
    .command(name)
    .description(entry.summary)
    .addHelpText(
      "after",
      `\nExamples:\n${entry.examples.map((line) => `  fedflat ${name} ${line}`).join("\n")}\n\n${EXIT_CODES}`,
    )
    .action(async () => {
      await conduct(entry, readSettings(name, givenTo(command)));
    });
  addOptions(command, name);
}

async function main(): Promise<void> {
  process.on("uncaughtException", (error) => {
    fail(error);
    process.exit();
  });
  process.stdout.on("error", () => process.exit(0));
  // Node's own listener prints for programmers.
  process.removeAllListeners("warning");
  process.on("warning", ({ message }) => void process.stderr.write(`fedflat: ${message}\n`));
  const { version } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  ) as { version: string };
  const program = new Command("fedflat")
    .description("Federated training on small devices that finds flat minima.")
    .version(version)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(printableLines(text.replace(/^error: /, "fedflat: ").replace(/\n(?=.)/g, " "))),
    })
    .addHelpText("after", `\n${EXIT_CODES}`);
  for (const name of COMMANDS) add(program, name);
  try {
    await program.parseAsync();
  } catch (error) {
    fail(error);
  }
}

await main();
