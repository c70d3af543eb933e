import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { PYTHON } from "../pytorch.js";
import { openRelay } from "./relay.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const main = fileURLToPath(new URL("../../cli/main.js", import.meta.url));

/** What each run is given. */
export interface Task {
  /** The parts (data.ts), and room for what a program keeps. */
  readonly folder: string;
  /** The data set, for a program that reads it itself. */
  readonly source: string;
  readonly clients: number;
  readonly rounds: number;
  readonly seed: number;
  /** A module that gives tfjs its gradients in Node, as its package @tensorflow/tfjs does. */
  readonly gradients: string;
}

/** How a contender's programs are started. */
export interface Contender {
  readonly name: string;
  /** The files that a user of it writes. */
  readonly own: readonly string[];
  /** How much is measured where the whole would take too long. */
  readonly few?: { readonly rounds: number; readonly seeds: number };
  /** The command of the server, or of the whole where there is one process. */
  server(task: Task, relay: number): readonly [program: string, ...argv: string[]];
  /** The command of one client; none where all clients are in one process. */
  client?(task: Task, url: string, k: number): readonly [program: string, ...argv: string[]];
}

const file = (path: string) => join(root, "bench/peers", path);
const node = (path: string, ...argv: string[]) => [process.execPath, file(path), ...argv] as const;

const tfjs = (name: string, ...backend: readonly string[]): Contender => ({
  name,
  own: ["tfjs/model.js", "tfjs/client.js", "tfjs/server.js"].map(file),
  server: ({ folder, clients, rounds, seed }) =>
    node("tfjs/server.js", ...[folder, clients, rounds, seed].map(String)),
  client: ({ folder }, url, k) => node("tfjs/client.js", url, folder, String(k), ...backend),
});

export const CONTENDERS = {
  fedflat: {
    name: "fedflat",
    own: [file("fedflat/client.js")],
    server: ({ folder, source, clients, rounds, seed }, relay) => [
      ...([process.execPath, main, "serve", "--json", "--port", "0", "--test", source] as const),
      ...["--model", "fashion-small", "--gather", String(clients), "--rounds", String(rounds)],
      ...["--local-epochs", "2", "--batch-size", "50", "--learning-rate", "0.1"],
      // Clients dial the relay, which is another name.
      ...["--public-name", `127.0.0.1:${relay}`, "--open-to-all"],
      // Plain SGD, as the others have it.
      ...["--learning-rate-decay", "1", "--weight-decay", "0", "--zeta", "0"],
      ...["--evaluate-fraction", "0", "--seed", String(seed), "--run", join(folder, "run")],
    ],
    client: ({ folder }, url, k) => node("fedflat/client.js", url, folder, String(k)),
  },
  tfjsWasm: tfjs("TensorFlow.js, wasm backend", "wasm"),
  tfjsKernels: tfjs(
    "TensorFlow.js, wasm backend with `fedflat/kernels`",
    "wasm",
    "fedflat/kernels",
  ),
  pytorch: {
    name: "PyTorch, a loop",
    own: [file("pytorch/fedavg.py")],
    server: ({ folder, clients, rounds, seed }) => [
      PYTHON,
      ...[file("pytorch/fedavg.py"), folder, String(clients), String(rounds), String(seed)],
    ],
  },
  tfjsCpu: {
    ...tfjs("TensorFlow.js, cpu backend", "cpu"),
    // Ten rounds take hours.
    few: { rounds: 2, seeds: 1 },
  },
} as const satisfies Record<string, Contender>;

export interface Measured {
  readonly accuracy?: number;
  /** From the start of the first program to the final model. */
  readonly seconds: number;
  readonly bytes?: number;
  /** Peak resident memory of the first client, or of the one process. */
  readonly memory: number;
  /** When each round was finished, in seconds. */
  readonly rounds: readonly number[];
  /** What was said on standard error by whatever ended badly. */
  readonly error?: string;
}

/**
 * Runs one contender to its end.
 * @param kill seconds to wait, after a client was killed in the second round, for another round
 */
export async function run(contender: Contender, task: Task, kill?: number): Promise<Measured> {
  const children: ChildProcess[] = [];
  const errors: string[] = [];
  const start = (command: readonly [string, ...string[]]) => {
    const [program, ...argv] = command;
    const child = spawn(program, argv, {
      cwd: root,
      env: { ...process.env, TFJS_GRADIENTS: task.gradients },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stderr.on("data", (text) => errors.push(String(text)));
    children.push(child);
    return child;
  };
  const began = performance.now();
  const since = () => (performance.now() - began) / 1000;
  const rounds: number[] = [];
  let accuracy: number | undefined;
  let seconds = 0;
  let memory = 0;
  const relay = await openRelay();
  const server = start(contender.server(task, relay.port));
  let measuredClient = server;
  const timer = setInterval(() => (memory = Math.max(memory, peakOf(measuredClient))), 200);
  let giveUp: NodeJS.Timeout | undefined;
  let giveUpNow = () => {};
  const failed = new Promise<void>((resolve) => (giveUpNow = resolve));
  let finished = false as boolean;
  const ended = new Promise<void>((resolve) =>
    server.on("close", (code) => {
      finished = code === 0;
      resolve();
    }),
  );

  const hear = (line: string) => {
    const said = readJson(line);
    if (said.port !== undefined && contender.client) {
      relay.to(said.port);
      for (let k = 1; k <= task.clients; k++) {
        const url = `ws://127.0.0.1:${relay.port}`;
        const child = start(contender.client(task, url, k));
        if (k === 1) measuredClient = child;
        // A client that ends by itself before the last round cannot train.
        child.on("exit", (code) => code !== 0 && kill === undefined && giveUpNow());
      }
    }
    if (said.round !== undefined) {
      rounds.push(since());
      if (said.round === 1 && kill !== undefined) children.at(-1)!.kill("SIGKILL");
      clearTimeout(giveUp);
      if (kill !== undefined) giveUp = setTimeout(() => giveUpNow(), 1000 * kill);
    }
    if (said.accuracy !== undefined) {
      accuracy = said.accuracy;
      seconds = since();
    }
  };
  createInterface({ input: server.stdout }).on("line", (line) => hear(line));
  await Promise.race([ended, failed]);
  clearTimeout(giveUp);
  clearInterval(timer);
  const bytes = contender.client && relay.bytes();
  relay.close();
  for (const child of children) child.kill("SIGKILL");
  return {
    ...(finished && accuracy !== undefined && { accuracy }),
    ...(bytes === undefined ? {} : { bytes }),
    ...(!finished && { error: errors.join("").trim() }),
    seconds: seconds || since(),
    memory,
    rounds,
  };
}

/** What a line of a program's output says: its port, a round, or the final accuracy. */
function readJson(line: string): { port?: number; round?: number; accuracy?: number } {
  let said: Record<string, unknown>;
  try {
    said = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {};
  }
  const number = (value: unknown) => (typeof value === "number" ? value : undefined);
  const port = number(said["port"]) ?? number(Number(/:(\d+)/.exec(String(said["url"]))?.[1]));
  return {
    ...(port !== undefined && !Number.isNaN(port) && { port }),
    ...((said["event"] ?? "round") === "round" && { round: number(said["round"]) }),
    accuracy: number(said["accuracy"]),
  } as { port?: number; round?: number; accuracy?: number };
}

/** The most memory that a process has had, in bytes; 0 where nobody tells. */
function peakOf({ pid }: ChildProcess): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Lines of a program that are neither empty nor a comment. */
export function linesOf(files: readonly string[]): number {
  return files
    .flatMap((path) => readFileSync(path, "utf8").split("\n"))
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/^(\/\/|\/\*|\*|#)/.test(line)).length;
}
