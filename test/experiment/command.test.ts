import assert from "node:assert/strict";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FASHION, run, start } from "../cli/command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-experiment-"));
after(() => rmSync(folder, { recursive: true }));

const file = join(folder, "tiny.json");
const content = {
  title: "Tiny",
  settings: {
    data: FASHION,
    samples: 60,
    clients: 3,
    rounds: 2,
    "local-epochs": 1,
    "evaluate-every": 2,
  },
  grid: { algorithm: ["fedavg", "feddyn"], zeta: [0.15], seed: [1] },
  target: 1,
  flatness: { samples: 8, probes: 2 },
};
writeFileSync(file, JSON.stringify(content));

test("a killed experiment goes on where it was: finished runs are not run again, then come tables and pictures", async () => {
  const out = join(folder, "out");
  const command = [...["experiment", file, "--out", out, "--parallel", "1", "--json"]];
  const first = start(...command);
  const [, name] = await first.until(/"event":"finished","run":"(fedavg[^"]+)"/);
  const other = await run(...command);
  assert.equal(other.code, 1);
  assert.match(other.stderr, /"--out" expected a folder in which no other/);
  first.process.kill("SIGKILL");
  await first.ended;
  const kept = join(out, "runs", name, "result.json");
  const written = statSync(kept).mtimeMs;

  const page = join(folder, "page.md");
  const second = await run(...command, "--page", page);
  assert.equal(second.code, 0, second.stderr);
  const events = second.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const begin = events.find(({ event }) => event === "begin");
  assert.deepEqual([begin.runs, begin.finished], [2, 1]);
  const finished = events.filter(({ event }) => event === "finished");
  assert.equal(finished.length, 1);
  assert.match(finished[0].run, /^feddyn/);
  assert.equal(statSync(kept).mtimeMs, written);

  const csv = readFileSync(join(out, "results.csv"), "utf8").trim().split("\n");
  assert.equal(csv.length, 3);
  const columns = csv[0].split(",");
  for (const line of csv.slice(1)) {
    const cells = line.split(",");
    const numbers = columns
      .slice(columns.indexOf("sel"), columns.indexOf("run"))
      .map((column) => [column, Number(cells[columns.indexOf(column)])]);
    for (const [column, value] of numbers)
      assert.ok(Number.isFinite(value), `${column} in ${line}`);
    assert.ok(
      cells.every((cell) => cell !== ""),
      line,
    );
  }
  const text = readFileSync(page, "utf8");
  assert.match(text, /2 of 2 runs/);
  const [, picture] = /!\[.*\]\((.*)\.svg\)/.exec(text)!;
  assert.ok(existsSync(join(folder, `${picture}.png`)));
  assert.ok(existsSync(join(out, "accuracy.svg")));
});

test("shards run each run of the grid once, and --collect writes the tables of all", async () => {
  const out = join(folder, "shards");
  const grid = join(folder, "grid.json");
  const settings = { ...content.settings, samples: 40, rounds: 1 };
  const three = { title: "Three", settings, grid: { seed: [1, 2, 3] } };
  writeFileSync(grid, JSON.stringify(three));
  const command = (...more: string[]) => run("experiment", grid, "--out", out, "--json", ...more);
  const eventsOf = ({ stdout }: { readonly stdout: string }) =>
    stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  const shards = await Promise.all([command("--shard", "1/2"), command("--shard", "2/2")]);
  assert.deepEqual(
    shards.map((shard) => eventsOf(shard).filter(({ event }) => event === "finished").length),
    [2, 1],
  );
  assert.ok(!existsSync(join(out, "results.csv")));
  const page = join(folder, "three.md");
  const collected = await command("--collect", "--page", page);
  assert.equal(collected.code, 0, collected.stderr);
  assert.deepEqual(
    eventsOf(collected).map(({ event, finished }) => [event, finished]),
    [
      ["begin", 3],
      ["done", 3],
    ],
  );
  assert.match(readFileSync(page, "utf8"), /3 of 3 runs/);
  assert.equal(readFileSync(join(out, "results.csv"), "utf8").trim().split("\n").length, 4);
  for (const more of [
    ["--shard", "0/2"],
    ["--shard", "3/2"],
    ["--shard", "1/2", "--collect"],
  ])
    assert.equal((await command(...more)).code, 2, more.join(" "));
});

test("data without a test half fail before they are trained on", async () => {
  const [data, file] = [join(folder, "whole.csv"), join(folder, "whole.json")];
  writeFileSync(data, `a,b,label\n${"1,0,0\n0,1,1\n".repeat(10)}`);
  writeFileSync(file, JSON.stringify({ settings: { data, clients: 2 }, grid: { seed: [1] } }));
  const out = join(folder, "whole");
  const { code, stdout } = await run(...["experiment", file, "--out", out]);
  assert.equal(code, 1);
  assert.match(stdout, /seed 1 failed: "data" expected a test half, or --test beside it, [^\n]*\n/);
  const written = readdirSync(join(out, "runs"), { recursive: true, encoding: "utf8" });
  assert.deepEqual(
    written.filter((path) => path.endsWith("rounds.jsonl")),
    [],
  );
});

test("a run that fails is named with its reason; the others are finished and the exit code says it", async () => {
  const bad = join(folder, "bad.json");
  const { settings } = content;
  writeFileSync(
    bad,
    JSON.stringify({
      ...content,
      flatness: undefined,
      settings: { ...settings, rounds: 1 },
      grid: { split: ["groups", "iid"], seed: [1] },
    }),
  );
  const out = join(folder, "bad");
  const { code, stdout, stderr } = await run(...["experiment", bad, "--out", out]);
  assert.equal(code, 1);
  assert.match(stdout, /split groups, seed 1 failed: /);
  assert.match(stdout, /1 of 2 runs finished/);
  assert.match(stderr, /^fedflat: "experiment" expected all runs .*\n$/);
  assert.match(readFileSync(join(out, "results.md"), "utf8"), /1 failed/);
});

test("a mistake in the file ends in one sentence before anything is run", async () => {
  const wrong = join(folder, "wrong.json");
  writeFileSync(wrong, JSON.stringify({ ...content, flatness: { tops: 1 } }));
  const out = join(folder, "wrong");
  const { code, stderr } = await run(...["experiment", wrong, "--out", out]);
  assert.equal(code, 2);
  assert.match(stderr, /^fedflat: .*got "tops" \(did you mean "top"\?\)\n$/);
  assert.equal(existsSync(out), false);
});
