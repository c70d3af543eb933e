import { fork } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { ConfigError } from "../../runtime/errors.js";
import { makeFolder } from "../../runtime/platform/node-files.js";

const MAIN = fileURLToPath(new URL("../main.js", import.meta.url));
const CHILD = new URL("./child.js", import.meta.url).href;

/** One line of a command's `--json` output. */
export type Fact = Readonly<Record<string, unknown>>;

/**
 * Runs a command of fedflat in a process of its own, in a process group of its own: a Ctrl-C at the
 * terminal reaches the experiment only, which passes it on. Its CPU seconds go into `folder`/cpu.
 * @param main the command line to run, another one in tests
 * @throws ConfigError `failed` with the last line the command had to say
 */
export async function runCommand(
  args: readonly string[],
  folder: string,
  signal: AbortSignal,
  onFact: (fact: Fact) => void,
  main = MAIN,
): Promise<void> {
  const cpu = join(folder, "cpu");
  makeFolder(cpu);
  const child = fork(main, [...args, "--json"], {
    execArgv: ["--import", CHILD],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    detached: true,
    env: {
      ...process.env,
      FEDFLAT_CPU_FILE: join(cpu, `${args[0]}-${Date.now()}`),
    },
  });
  const stop = () => void child.kill("SIGTERM");
  signal.addEventListener("abort", stop);
  let last = "";
  createInterface({ input: child.stdout! }).on("line", (line) => {
    const fact = factOf(line);
    if (fact !== undefined) onFact(fact);
  });
  createInterface({ input: child.stderr! }).on("line", (line) => {
    if (line.trim() !== "") last = line;
  });
  const [code, killed] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (...end) => resolve(end));
  });
  signal.removeEventListener("abort", stop);
  if (code !== 0)
    throw new ConfigError(
      "failed",
      last.replace(/^fedflat: /, "") ||
        `${args[0]} ended ${killed ? `by ${killed}` : `with exit code ${code}`}`,
    );
}

function factOf(line: string): Fact | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Fact) : undefined;
  } catch {
    return undefined;
  }
}

/** CPU seconds of all commands that ran for `folder`, those that were killed included. */
export async function cpuSeconds(folder: string): Promise<number> {
  const cpu = join(folder, "cpu");
  const files = await readdir(cpu).catch(() => []);
  const texts = await Promise.all(files.map((file) => readFile(join(cpu, file), "utf8")));
  return texts.reduce((sum, text) => sum + (Number(text) || 0), 0);
}
