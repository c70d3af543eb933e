import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { statisticOf } from "../../cli/experiment/result.js";
import { bundleGradients } from "../../test/tfjs/gradients.js";
import { pytorchVersion } from "../pytorch.js";
import { writeParts } from "./data.js";
import { CONTENDERS, linesOf, run, type Contender, type Measured } from "./programs.js";

const USAGE = `npm run peers [-- [--seeds N] [--rounds N] [NAME ...]]
The same federation in fedflat and in what people write themselves; writes docs/comparison.md.
  ${Object.keys(CONTENDERS).join(", ")}`;

const root = fileURLToPath(new URL("../../../", import.meta.url));
const source = join(root, "examples/data/fashion-mnist");
const CLIENTS = 10;
const SPLIT = "dirichlet:0.3";
/** How long another round is waited for after a client was killed. */
const PATIENCE = 60;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: "string", default: "3" },
    rounds: { type: "string", default: "10" },
    out: { type: "string", default: join(root, "docs/comparison.md") },
    help: { type: "boolean" },
  },
});
const names = Object.keys(CONTENDERS) as (keyof typeof CONTENDERS)[];
const wanted = names.filter((name) => positionals.length === 0 || positionals.includes(name));
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);
const rounds = Number(values.rounds);
if (values.help || wanted.length === 0 || !(seeds.length > 0) || !(rounds >= 3)) {
  console.error(USAGE);
  process.exit(values.help ? 0 : 2);
}

interface Row {
  readonly contender: Contender;
  readonly runs: readonly Measured[];
  /** The run in which a client was killed. */
  readonly killed?: Measured;
}

const folder = mkdtempSync(join(tmpdir(), "fedflat-peers-"));
try {
  const gradients = pathToFileURL(await bundleGradients(folder)).href;
  const rows: Row[] = [];
  for (const name of wanted) {
    const contender: Contender = CONTENDERS[name];
    const few = contender.few ?? { rounds, seeds: seeds.length };
    const trial = async (seed: number, label: string, kill?: number) => {
      const parts = join(folder, `${name}-${label}`);
      await writeParts(source, parts, { clients: CLIENTS, split: SPLIT, seed });
      const task = { folder: parts, source, clients: CLIENTS, rounds: few.rounds, seed, gradients };
      const measured = await run(contender, task, kill);
      const outcome = measured.accuracy ?? measured.error?.split("\n").find((l) => /rror/.test(l));
      console.error(`${contender.name}, ${label}: ${outcome}, ${measured.seconds.toFixed(1)} s`);
      return measured;
    };
    const runs: Measured[] = [];
    for (const seed of seeds.slice(0, few.seeds)) {
      runs.push(await trial(seed, `seed ${seed}`));
      // What cannot train need not be tried with another seed.
      if (runs[0].accuracy === undefined) break;
    }
    const able = runs[0].accuracy !== undefined && contender.few === undefined;
    rows.push({
      contender,
      runs,
      ...(able && { killed: await trial(1, "a client killed", PATIENCE) }),
    });
    writeFileSync(values.out, page(rows));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Mean and sample standard deviation of the runs that have the figure. */
function spread(runs: readonly Measured[], of: (run: Measured) => number | undefined): string {
  const known = statisticOf(runs.map(of));
  if (known === undefined) return "-";
  const { mean, deviation } = known;
  const digits = mean < 100 ? 1 : 0;
  const around = deviation === undefined ? "" : ` ± ${deviation.toFixed(digits)}`;
  return mean.toFixed(digits) + around;
}

/** What a run in which a client was killed came to, in a sentence. */
function afterKill({ contender, killed }: Row): string {
  if (killed === undefined) return "";
  const { accuracy, rounds: done } = killed;
  const later = done.length - 1;
  if (accuracy !== undefined) {
    const longest = Math.max(...done.slice(1).map((at, i) => at - done[i]));
    return (
      `all ${done.length} rounds are finished with the other nine, the longest in ` +
      `${longest.toFixed(0)} s; ${(100 * accuracy).toFixed(1)} %`
    );
  }
  if (!("client" in contender)) return "all is lost: it is the one process";
  return `${later === 0 ? "no other round" : `${later} rounds`} in ${PATIENCE} s: it waits for ever`;
}

function machine(): string {
  const tfjs = JSON.parse(
    readFileSync(join(root, "node_modules/@tensorflow/tfjs-core/package.json"), "utf8"),
  ) as { version: string };
  const git = spawnSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" });
  const processor = cpus()[0].model.split(" ").slice(0, 2).join(" ");
  return (
    `${cpus().length} cores of ${processor}, Node ${process.version}, tfjs ${tfjs.version}, ` +
    `PyTorch ${pytorchVersion() ?? "none"}, fedflat at ${git.stdout.trim()}`
  );
}

function page(rows: readonly Row[]): string {
  const able = rows.filter(({ runs }) => runs[0].accuracy !== undefined);
  const lines = able.map((row) =>
    [
      row.contender.name + (row.contender.few ? `, ${row.contender.few.rounds} rounds` : ""),
      spread(row.runs, ({ accuracy }) => accuracy && 100 * accuracy),
      spread(row.runs, ({ seconds }) => seconds),
      spread(row.runs, ({ rounds: done }) => (done.at(-1)! - done[0]) / (done.length - 1)),
      row.contender.client ? spread(row.runs, ({ bytes }) => bytes && bytes / 1e6) : "none",
      spread(row.runs, ({ memory }) => memory / 1e6) + (row.contender.client ? "" : ", all ten"),
      linesOf(row.contender.own),
    ].join(" | "),
  );
  const unable = rows
    .filter(({ runs }) => runs[0].accuracy === undefined)
    .map(({ contender, runs }) => {
      const line = runs[0].error?.split("\n").find((text) => /Error/.test(text)) ?? "it ended";
      return `**${contender.name}** cannot train this network: \`${line.trim().slice(0, 200)}\``;
    });
  return `# Comparison

Written by \`npm run peers\`; never by hand. ${machine()}.

## The same task, measured

The part of Fashion-MNIST that comes with the package (12,000 images), dealt to ${CLIENTS} clients by
\`${SPLIT}\`; the network \`fashion-small\` (80,000 weights); FedAvg, ${rounds} rounds of two local epochs,
batches of 50, plain SGD at 0.1, no MAN; measured on the 2,000 test images. Clients are processes on
one machine, and their bytes are counted by a relay between them and the server. Seeds: ${seeds.join(", ")};
mean ± sample standard deviation.

| | accuracy, % | seconds, all | seconds a round | MB over the line | memory of a client, MB | lines of one's own |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
${lines.map((line) => `| ${line} |`).join("\n")}

${unable.join("\n\n")}

When one of the ten clients is killed in the second round (\`kill -9\`; in PyTorch, the one process):

${rows
  .filter(({ killed }) => killed !== undefined)
  .map((row) => `- ${row.contender.name}: ${afterKill(row)}.`)
  .join("\n")}

How to read it:

- The programs: [bench/peers](../bench/peers). Lines are those that are neither empty nor a comment,
  of what a user writes; fedflat's server is the command \`fedflat serve\`, without lines of one's own.
- The TensorFlow.js programs are what one writes first: a WebSocket server that sends the model to
  all, waits for all, and averages. No reconnection, identity, deadline, or state on disk.
- The PyTorch program is a loop over ten clients in one process: no network, one memory for all.
- "Seconds, all" begin with the start of the first process. All contenders share the machine's cores
  among ten clients but PyTorch, whose one process uses all cores for one client after the other.

${readFileSync(join(root, "bench/peers/features.md"), "utf8")}`;
}
