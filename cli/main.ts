#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { FedflatError } from "../runtime/errors.js";
import { inWords } from "../runtime/platform/system-errors.js";
import { printable, printableLines } from "../runtime/protocol/printable.js";
import { COMMANDS, NAMES, type CommandName } from "./flags.js";
import { addOptions, givenTo, readSettings, type SettingsOf } from "./settings.js";
import { asTyped, isUsage } from "./typed.js";

/** The work of a command. It ends soon after `signal` aborts, and says where the state is. */
type Work<C extends CommandName> = (settings: SettingsOf<C>, signal: AbortSignal) => Promise<void>;

const EXIT_CODES =
  "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM.";

const STOPPED = { SIGINT: 130, SIGTERM: 143 } as const;

/** Runs a command until its end or a signal; a second signal ends the process at once. */
async function conduct<C extends CommandName>(name: C, settings: SettingsOf<C>): Promise<void> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(STOPPED[signal]);
      process.exitCode = STOPPED[signal];
      stop.abort(signal);
    });
  const file = (await import(`./${name}.js`)) as { readonly [N in C]: Work<C> };
  await file[name](settings, stop.signal);
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
function fail(error: unknown, command?: CommandName): void {
  if (error instanceof CommanderError) {
    // Commander has printed it.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  const typed = command && asTyped(error, command);
  const expected = typed ?? (error instanceof FedflatError ? error.message : systemSentence(error));
  const sentence =
    expected ??
    `unexpected: ${error instanceof Error ? error.message : String(error)} (run again with FEDFLAT_TRACE=1 to see where)`;
  process.stderr.write(`fedflat: ${printable(sentence)}\n`);
  if (process.env.FEDFLAT_TRACE && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exitCode = error instanceof FedflatError && isUsage(error) ? 2 : 1;
}

function add<C extends CommandName>(program: Command, name: C): void {
  const { summary, examples } = COMMANDS[name];
  const command = program
    .command(name)
    .description(summary)
    .addHelpText(
      "after",
      `\nExamples:\n${examples.map((line) => `  fedflat ${name} ${line}`).join("\n")}\n\n${EXIT_CODES}`,
    )
    .action(async () => {
      try {
        await conduct(name, readSettings(name, givenTo(command)));
      } catch (error) {
        fail(error, name);
      }
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
  for (const name of NAMES) add(program, name);
  try {
    await program.parseAsync();
  } catch (error) {
    fail(error);
  }
}

await main();
