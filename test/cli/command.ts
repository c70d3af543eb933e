import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from "node:child_process";
import { fileURLToPath } from "node:url";

/** The compiled command line. */
export const MAIN = fileURLToPath(new URL("../../cli/main.js", import.meta.url));

/** A path of the repository. */
export const repository = (path: string) =>
  fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** The part of Fashion-MNIST that comes with the package. */
export const FASHION = repository("examples/data/fashion-mnist");

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly process: ChildProcess;
  /** What standard output has said so far. */
  stdout(): string;
  /** Resolves when the process has ended. */
  readonly ended: Promise<Outcome>;
  /**
   * Resolves with the match as soon as standard output has it; rejects where the process ends
   * before.
   */
  until(pattern: RegExp): Promise<RegExpExecArray>;
}

/** Starts `fedflat` as a process of its own. */
export const start = (...argv: string[]): Running => startNode(MAIN, ...argv);

/** `fedflat` again, with these variables of the environment in addition to those of the tests. */
export const startWith = (env: NodeJS.ProcessEnv, ...argv: string[]): Running =>
  watched(spawn(process.execPath, [MAIN, ...argv], { env: { ...process.env, ...env } }));

/** Starts a script of Node's as a process of its own. */
export const startNode = (script: string, ...argv: string[]): Running =>
  watched(spawn(process.execPath, [script, ...argv]));

/** `fedflat` again, where the process may have so many file descriptors open. */
export const startWithDescriptors = (most: number, ...argv: string[]): Running =>
  watched(
    spawn("/bin/sh", [
      ...["-c", `ulimit -n ${most} && exec "$@"`, "sh"],
      ...[process.execPath, MAIN, ...argv],
    ]),
  );

function watched(child: ChildProcessWithoutNullStreams): Running {
  let stdout = "";
  let stderr = "";
  const waiting = new Set<() => void>();
  const look = () => waiting.forEach((one) => one());
  child.stdout.on("data", (data) => {
    stdout += String(data);
    look();
  });
  child.stderr.on("data", (data) => (stderr += String(data)));
  const ended = new Promise<Outcome>((resolve) =>
    child.on("close", (code) => resolve({ code, stdout, stderr })),
  );
  return {
    process: child,
    stdout: () => stdout,
    ended,
    until: (pattern) =>
      new Promise((resolve, reject) => {
        const check = () => {
          const match = pattern.exec(stdout);
          if (match === null) return;
          waiting.delete(check);
          resolve(match);
        };
        waiting.add(check);
        check();
        void ended.then(() => reject(new Error(`ended without ${pattern}: ${stdout}${stderr}`)));
      }),
  };
}

/** Runs `fedflat` to its end. */
export const run = (...argv: string[]): Promise<Outcome> => start(...argv).ended;
