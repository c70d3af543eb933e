import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import type { Figure } from "./comparison.js";
import { pytorchVersion } from "./pytorch.js";

/** The comparisons, in order; each is a module of this folder and runs in a process of its own. */
const COMPARISONS: Readonly<Record<string, string>> = {
  kernels: "Kernels against their ceiling and against tfjs-wasm",
  steps: "Whole training steps",
  device: "What a client costs its device",
  transfer: "A frozen backbone and its head",
  "tfjs-cpu": "A training step against tfjs's cpu backend",
  codecs: "Codecs of updates",
  fleet: "One aggregator and many light clients",
  secure: "Secure aggregation",
  page: "The live page with many clients",
  restart: "A restart with a large model",
  aggregation: "Aggregation rules",
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean" }, busy: { type: "boolean" }, help: { type: "boolean" } },
});
const unknown = positionals.filter((name) => !Object.hasOwn(COMPARISONS, name));
if (values.help || unknown.length > 0) {
  console.error(
    `${unknown.length > 0 ? `"comparison" expected one of the below, got "${unknown[0]}"\n` : ""}npm run bench [-- [--json] [--busy] NAME ...]\nWithout names all run. Each writes its table into bench/results.md.\n--busy: others work on this machine, so what runs in this process is measured in its processor time.\n` +
      Object.entries(COMPARISONS)
        .map(([name, title]) => `  ${name.padEnd(12)}${title}`)
        .join("\n"),
  );
  process.exit(values.help ? 0 : 2);
}

const one = fileURLToPath(new URL("./one.js", import.meta.url));

async function run(name: string): Promise<Figure[]> {
  const parts: string[] = JSON.parse(
    execFileSync(process.execPath, [one, name, "--parts"], {
      encoding: "utf8",
    })
      .trim()
      .split("\n")
      .pop()!,
  );
  const figures: Figure[] = [];
  for (const part of parts) {
    const child = spawn(process.execPath, ["--expose-gc", one, name, part], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...(values.busy && { FEDFLAT_BENCH_BUSY: "1" }) },
    });
    const ended = new Promise<number | null>((done) => child.on("close", done));
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith("{")) continue;
      figures.push(JSON.parse(line));
      if (values.json) console.log(line);
      else process.stderr.write(".");
    }
    if ((await ended) !== 0)
      throw new Error(`the comparison "${name}" failed; its message is above`);
  }
  return figures;
}

const number = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

const cells = (figure: Figure): string[] => [
  figure.name,
  `${number(figure.value)} ${figure.unit}`,
  figure.baseline === undefined
    ? ""
    : `${figure.baseline}: ${number(figure.baselineValue ?? NaN)} ${figure.unit}`,
  figure.ratio === undefined ? "" : `${figure.ratio.toFixed(2)} x`,
  figure.target ?? "",
  figure.met === undefined ? "" : figure.met ? "met" : "MISSED",
];
const HEAD = ["figure", "value", "against", "ratio", "target", ""];

const version = (name: string) =>
  JSON.parse(
    readFileSync(new URL(`../../node_modules/${name}/package.json`, import.meta.url), "utf8"),
  ).version;
const machine = `${cpus()[0].model}, ${cpus().length} cores, ${process.platform} ${process.arch}, Node ${process.version} (V8 ${process.versions.v8}), tfjs ${version("@tensorflow/tfjs-core")}, PyTorch ${pytorchVersion() ?? "not there"}`;

const wanted = positionals.length > 0 ? positionals : Object.keys(COMPARISONS);
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], {
  encoding: "utf8",
}).trim();
const results = new URL("../../bench/results.md", import.meta.url);

/** Puts one comparison's table in the place of its last one; the others stay. */
function writeSection(name: string, body: string): void {
  const [, ...old] = existsSync(results) ? readFileSync(results, "utf8").split(/^(?=## )/m) : [];
  const titleOf = (name: string) => `## ${COMPARISONS[name]}\n`;
  const sections = Object.keys(COMPARISONS).flatMap((each) =>
    each === name
      ? [`${titleOf(name)}\n\`npm run bench -- ${name}\`\n\n${body}\n`]
      : old.filter((section) => section.startsWith(titleOf(each))),
  );
  writeFileSync(
    results,
    `# Measured figures\n\nWritten by \`npm run bench\`; never by hand. Medians of turns taken by all contenders in one process, one thread each. A ratio above 1 means that fedflat is ahead.\n\n${sections.map((section) => section.trim()).join("\n\n")}\n`,
  );
}

for (const name of wanted) {
  if (!values.json) console.log(`\n${COMPARISONS[name]} (${name})`);
  const figures = await run(name);
  if (!values.json) {
    const table = new Table({ head: HEAD, style: { head: [], border: [] } });
    table.push(...figures.map(cells));
    console.log(table.toString());
  }
  writeSection(
    name,
    `Machine: ${machine}; commit ${commit}.${values.busy ? " Others worked on the machine: processor time of the process." : ""}\n\n| ${HEAD.join(" | ")} |\n|${HEAD.map(() => "---").join("|")}|\n` +
      figures.map((figure) => `| ${cells(figure).join(" | ")} |`).join("\n"),
  );
}
