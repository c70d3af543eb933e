import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { statisticOf } from "../../cli/experiment/result.js";
import { METRICS, metricText } from "../../runtime/models/metrics/built-in.js";
import { PYTHON, pytorchVersion } from "../pytorch.js";
import { TASKS, flagsOf, type LearningTask, type TaskName } from "./tasks.js";

const USAGE = `npm run learning -- DATA [--seeds N] [TASK ...]
Trains on real data with fedflat and with PyTorch, and writes docs/results-learning.md. DATA is a folder with
uci-har.npz, cifar-100-binary/ and tiny-shakespeare/input.txt; what is finished in runs/learning is kept.
  ${Object.keys(TASKS).join(", ")}`;

const root = fileURLToPath(new URL("../../../", import.meta.url));
const work = join(root, "runs/learning");
const SYSTEMS = ["fedflat", "PyTorch"] as const;

type System = (typeof SYSTEMS)[number];

/** Figures by task and system, in the order of the seeds. */
type Figures = { [Task in TaskName]?: { [S in System]?: number[] } };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: "string", default: "3" },
    out: { type: "string", default: join(root, "docs/results-learning.md") },
    help: { type: "boolean" },
  },
});
const [source, ...given] = positionals;
const names = (Object.keys(TASKS) as TaskName[]).filter(
  (name) => given.length === 0 || given.includes(name),
);
const seeds = Number(values.seeds);
if (values.help || source === undefined || names.length === 0 || !(seeds >= 1)) {
  console.error(USAGE);
  process.exit(values.help ? 0 : 2);
}

const kept = join(work, "figures.json");
mkdirSync(work, { recursive: true });
const figures = (existsSync(kept) ? JSON.parse(readFileSync(kept, "utf8")) : {}) as Figures;

for (let seed = 1; seed <= seeds; seed++)
  for (const name of names)
    for (const system of SYSTEMS) {
      const own = ((figures[name] ??= {})[system] ??= []);
      if (own.length >= seed) continue;
      const data = join(work, name);
      if (!existsSync(data)) await python("data.py", name, source, data);
      const begun = performance.now();
      const train = system === "fedflat" ? trainHere : trainInPytorch;
      own.push(await train(name, data, seed));
      const seconds = ((performance.now() - begun) / 1000).toFixed(0);
      console.error(`${name}, ${system}, seed ${seed}: ${own.at(-1)}, ${seconds} s`);
      writeFileSync(kept, JSON.stringify(figures));
      writeFileSync(values.out, page(figures));
    }
writeFileSync(values.out, page(figures));

async function trainHere(name: TaskName, data: string, seed: number): Promise<number> {
  const task: LearningTask = TASKS[name];
  const run = join(work, `${name}-${seed}`);
  rmSync(run, { recursive: true, force: true });
  await fedflat("simulate", ...flagsOf(task, data, seed), "--run", run);
  if (task.figure === "auc") {
    const test = join(data, "test.npz");
    const lines = await fedflat("predict", "--model", run, "--data", test);
    const errors = lines.trim().split("\n").slice(1).map(Number);
    const marks = readFileSync(join(data, "anomalous.npy")).subarray(-errors.length);
    return areaUnder(errors, [...marks].map(Boolean));
  }
  const lines = readFileSync(join(run, "evaluations.jsonl"), "utf8").trim().split("\n");
  const { test } = JSON.parse(lines.at(-1)!);
  return task.figure === "accuracy" ? test.accuracy : test.metrics[task.figure];
}

async function trainInPytorch(name: TaskName, data: string, seed: number): Promise<number> {
  const { rounds, epochs, rate } = TASKS[name];
  const numbers = Object.entries({ seed, rounds, epochs, rate });
  const flags = numbers.flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  return Number(await python("pytorch.py", name, data, ...flags));
}

/** Area under the ROC curve: the probability that an anomalous error is above another. */
function areaUnder(errors: readonly number[], anomalous: readonly boolean[]): number {
  const order = errors.map((error, i) => ({ error, anomalous: anomalous[i] }));
  order.sort((a, b) => a.error - b.error);
  let usual = 0;
  let pairs = 0;
  for (const one of order) {
    if (one.anomalous) pairs += usual;
    else usual++;
  }
  return pairs / (usual * (errors.length - usual));
}

function fedflat(...argv: string[]): Promise<string> {
  return outputOf(process.execPath, [join(root, "dist/cli/main.js"), ...argv]);
}

function python(program: string, ...argv: string[]): Promise<string> {
  return outputOf(PYTHON, [join(root, "bench/learning", program), ...argv]);
}

/** What a command writes to its standard output. */
function outputOf(command: string, argv: readonly string[]): Promise<string> {
  const child = spawn(command, argv, { stdio: ["ignore", "pipe", "pipe"] });
  const read = (stream: NodeJS.ReadableStream) => {
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    return () => Buffer.concat(parts).toString();
  };
  const [out, error] = [read(child.stdout), read(child.stderr)];
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 ? resolve(out()) : reject(new Error(`${command} ${argv.join(" ")}\n${error()}`)),
    );
  });
}

function shown(task: LearningTask, values: readonly number[] = []): string {
  const known = statisticOf(values);
  if (known === undefined) return "not run";
  const { mean, deviation, count } = known;
  const text = (value: number) => metricText(task.figure, value);
  const around = deviation === undefined ? "" : ` ± ${text(deviation)}`;
  return `${text(mean)}${around} (n=${count})`;
}

/** Whether the means differ by no more than the deviations of the two together. */
function agreement(here: readonly number[] = [], there: readonly number[] = []): string {
  const [a, b] = [statisticOf(here), statisticOf(there)];
  if (a?.deviation === undefined || b?.deviation === undefined) return "too few seeds";
  return Math.abs(a.mean - b.mean) <= a.deviation + b.deviation ? "yes" : "no";
}

function machine(): string {
  const processor = cpus()[0].model.split(" ").slice(0, 2).join(" ");
  const torch = pytorchVersion() ?? "none";
  return `${cpus().length} cores of ${processor}, Node ${process.version}, PyTorch ${torch}`;
}

function page(all: Figures): string {
  const entries = Object.entries(TASKS) as [TaskName, LearningTask][];
  const rows = entries.map(([name, task]) => {
    const { fedflat: here, PyTorch: there } = all[name] ?? {};
    const { title } = METRICS[task.figure];
    return `| ${task.title} | ${title} | ${shown(task, here)} | ${shown(task, there)} | ${agreement(here, there)} |`;
  });
  const whole = entries.every(([name]) =>
    SYSTEMS.every((system) => (all[name]?.[system]?.length ?? 0) >= 3),
  );
  const sections = entries.map(([name, task]) =>
    [
      `## ${task.title}`,
      `${task.about} ${task.rounds} rounds, local epochs: ${task.epochs}, learning rate ${task.rate}.`,
      `\`\`\`sh\nfedflat simulate ${flagsOf(task, `runs/learning/${name}`, 1).join(" ").replaceAll(root, "")}\n\`\`\``,
    ].join("\n\n"),
  );
  return `# Learning on real data

Written by \`npm run learning -- DATA\`; never by hand. ${machine()}.${whole ? "" : " **Not all of it has run yet.**"}

Every task is trained federated, by \`fedflat simulate\` and by a loop over the same clients in
PyTorch ([bench/learning](../bench/learning)): the same network, rounds, batches of 50 and plain SGD
with the same rate, weight decay 0.001, gradients clipped at a norm of 10, no MAN; other draws of
weights and order. Mean and sample standard deviation over seeds. **Agree**: the means differ by no
more than the two deviations together. The tasks are small enough for a laptop, so the figures say
that training is right, not how good the networks can become.

| task | figure on the test half | fedflat | PyTorch | agree |
| --- | --- | ---: | ---: | --- |
${rows.join("\n")}

${sections.join("\n\n")}
`;
}
