import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { finishedResult, runCell, type RunCommand } from "../../cli/experiment/cell.js";
import { cpuSeconds, runCommand } from "../../cli/experiment/command.js";
import { cellsOf } from "../../cli/experiment/grid.js";
import { until } from "../until.js";

const base = mkdtempSync(join(tmpdir(), "fedflat-cell-"));
after(() => rmSync(base, { recursive: true }));

const [cell] = cellsOf(
  {
    title: "",
    settings: { data: "d" },
    grid: { seed: [1] },
    set: {},
    published: [],
    remarks: [],
  },
  "x",
);
const flatness = { top: 1 };
const never = new AbortController().signal;

/** Does in a folder what the commands leave there; fails at the command that `failing` picks. */
function commands(failing: (args: readonly string[]) => boolean) {
  const ran: string[] = [];
  const run: RunCommand = async (args) => {
    const after = (flag: string) => args[args.indexOf(flag) + 1];
    ran.push([args[0], ...(args.includes("--resume") ? ["resume"] : [])].join(" "));
    if (args[0] === "simulate") {
      const folder = after("--run");
      mkdirSync(join(folder, "state"), { recursive: true });
      writeFileSync(join(folder, "state", "journal"), "");
      if (failing(args)) throw new Error("killed");
      const files = {
        "rounds.jsonl": {
          round: 1,
          participants: ["x"],
          activationNorms: [1, 2],
        },
        "timings.jsonl": { round: 1, seconds: 2, updateBytes: 10 },
        "evaluations.jsonl": { round: 1, test: { accuracy: 0.5 } },
        "means.jsonl": { round: 1, sel: { accuracy: 0.25 } },
        "clients.json": { worstTenth: 0.125 },
      };
      for (const [name, content] of Object.entries(files))
        writeFileSync(join(folder, name), `${JSON.stringify(content)}\n`);
      mkdirSync(join(folder, "model"), { recursive: true });
      writeFileSync(join(folder, "model", "weights.safetensors"), "12345");
      return;
    }
    if (failing(args)) throw new Error("killed");
    mkdirSync(after("--out"), { recursive: true });
    writeFileSync(
      join(after("--out"), "flatness.json"),
      JSON.stringify({
        blocks: [{ block: "all", eigenvalues: [3], trace: 4, traceError: 0 }],
      }),
    );
  };
  return { ran, run };
}

const perform = (folder: string, run: RunCommand, signal = never) =>
  runCell(cell, folder, flatness, 1, signal, () => {}, run);

test("a cell is trained and measured once; what it gave is kept", async () => {
  const folder = join(base, "whole");
  const { ran, run } = commands(() => false);
  const result = await perform(folder, run);
  assert.deepEqual(ran, ["simulate", "flatness"]);
  assert.deepEqual(result.rounds, [
    { round: 1, model: 50, sel: 25, all: undefined, activationNorm: 3 },
  ]);
  assert.equal(result.bytes, 15);
  assert.equal(result.worstTenth, 12.5);
  assert.equal(result.flatness?.eigenvalues[0], 3);
  const kept = await finishedResult(folder, flatness);
  assert.deepEqual(kept, JSON.parse(JSON.stringify(result)));
  assert.equal(await finishedResult(folder, { top: 2 }), undefined);
  assert.deepEqual(JSON.parse(readFileSync(join(folder, "settings.json"), "utf8")), cell.given);
});

test("killed while it trained: the run is resumed; killed while it was measured: not trained again", async () => {
  const folder = join(base, "killed");
  await assert.rejects(
    perform(folder, commands(([name]) => name === "simulate").run, AbortSignal.abort()),
  );
  const second = commands(([name]) => name === "flatness");
  await assert.rejects(perform(folder, second.run));
  assert.deepEqual(second.ran, ["simulate resume", "flatness"]);
  assert.equal(await finishedResult(folder, flatness), undefined);
  const third = commands(() => false);
  await perform(folder, third.run);
  assert.deepEqual(third.ran, ["flatness"]);
});

test("killed before the run's first record: begun anew; a run that cannot be resumed is left as it is", async () => {
  const folder = join(base, "early");
  mkdirSync(join(folder, "run"), { recursive: true });
  writeFileSync(join(folder, "run", "old"), "");
  const { ran, run } = commands(() => false);
  await perform(folder, run);
  assert.deepEqual(ran, ["simulate", "flatness"]);
  assert.ok(!existsSync(join(folder, "run", "old")));

  rmSync(join(folder, "trained"));
  const failing = commands((args) => args.includes("--resume"));
  await assert.rejects(perform(folder, failing.run));
  assert.deepEqual(failing.ran, ["simulate resume"]);
  assert.ok(existsSync(join(folder, "run", "rounds.jsonl")));
});

/** A command line of its own that stands in for fedflat's. */
function script(name: string, text: string): string {
  const path = join(base, name);
  writeFileSync(path, text);
  return path;
}

test("a command's JSON lines arrive, its CPU seconds are kept, its last words are the error", async () => {
  const folder = join(base, "command");
  const facts: unknown[] = [];
  const main = script(
    "main.mjs",
    `console.log(JSON.stringify({ round: 1, args: process.argv.slice(2) })); console.log("no json");
     for (const end = Date.now() + 100; Date.now() < end; );`,
  );
  await runCommand(["simulate", "--x"], folder, never, (fact) => facts.push(fact), main);
  assert.deepEqual(facts, [{ round: 1, args: ["simulate", "--x", "--json"] }]);
  assert.ok((await cpuSeconds(folder)) > 0.05);
  const failing = script(
    "failing.mjs",
    `console.error("fedflat: no such data"); process.exitCode = 1;`,
  );
  await assert.rejects(
    runCommand(["simulate"], folder, never, () => {}, failing),
    /^ConfigError: no such data$/,
  );
});

test("a command ends with its experiment: on a stop, and when the experiment is killed", async () => {
  const waiting = script(
    "waiting.mjs",
    `process.on("SIGTERM", () => process.exit(143)); console.log(JSON.stringify({ pid: process.pid })); setInterval(() => {}, 1000);`,
  );
  const stop = new AbortController();
  await assert.rejects(
    runCommand(["simulate"], join(base, "stopped"), stop.signal, () => stop.abort(), waiting),
    /exit code 143/,
  );

  const command = new URL("../../cli/experiment/command.js", import.meta.url).href;
  const parent = script(
    "parent.mjs",
    `import { runCommand } from ${JSON.stringify(command)};
     await runCommand(["simulate"], ${JSON.stringify(join(base, "orphan"))}, new AbortController().signal, (fact) => console.log(fact.pid), ${JSON.stringify(waiting)});`,
  );
  const { spawn } = await import("node:child_process");
  const experiment = spawn(process.execPath, [parent], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [output] = (await new Promise((resolve) =>
    experiment.stdout.once("data", (data) => resolve([data])),
  )) as [Buffer];
  const pid = Number(output.toString());
  experiment.kill("SIGKILL");
  const alive = () => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  await until(() => !alive());
});
