#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { FedflatError } from "../runtime/errors.js";
import {
  COMMANDS,
  addOptions,
  givenTo,
  readSettings,
  type CommandName,
  type SettingsOf,
} from "./settings.js";

/** The work of a command. It ends soon after `signal` aborts, and says where the state is. */
type Work<C extends CommandName> = (
  settings: SettingsOf<C>,
  signal: AbortSignal,
) => Promise<void>;

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
  predict: {
    summary: "Class names and probabilities of every example, and the accuracy",
    examples: [
      "--model runs/demo/man/model --data examples/data/fashion-mnist > predictions.csv",
      "--model runs/demo/man/model --data examples/data/fashion-mnist --json",
    ],
    load: async () => (await import("./predict.js")).predict,
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
      stop.abort();
    });
  await (
    await entry.load()
  )(settings, stop.signal);
}

/** One sentence on standard error, and the exit code. A defect of ours shows its trace when asked. */
function fail(error: unknown): void {
  if (error instanceof CommanderError) {
    // Commander has printed it.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  const expected = error instanceof FedflatError;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(
    expected
      ? `fedflat: ${message}\n`
      : `fedflat: unexpected: ${message} (run again with FEDFLAT_TRACE=1 to see where)\n`,
  );
  if (process.env.FEDFLAT_TRACE && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  process.exitCode = expected && error.code === "usage" ? 2 : 1;
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
  const { version } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  ) as { version: string };
  const program = new Command("fedflat")
    .description("Federated training on small devices that finds flat minima.")
    .version(version)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(text.replace(/^error: /, "fedflat: ").replace(/\n(?=.)/g, " ")),
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
