import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { random } from "../../runtime/tensors/random.js";
import { run } from "../cli/command.js";

// A grid over each task but one class for each example, from the file to tables and pictures.

const folder = mkdtempSync(join(tmpdir(), "fedflat-grids-"));
after(() => rmSync(folder, { recursive: true }));

const write = (path: string, content: string | object) => {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  writeFileSync(join(folder, path), text);
  return join(folder, path);
};
const halves = (name: string, of: (half: string) => string, ending: string) => {
  mkdirSync(join(folder, name));
  for (const half of ["train", "test"]) write(`${name}/${half}.${ending}`, of(half));
  return join(folder, name);
};

/** Runs a grid of two zetas and gives its page, CSV lines and pictures' names. */
async function grid(name: string, settings: object, rest: object = {}) {
  const common = { clients: 2, rounds: 2, "learning-rate": 0.2, "local-epochs": 1 };
  const file = write(`${name}.json`, {
    settings: { ...common, ...settings },
    grid: { zeta: [0, 0.1], seed: [1] },
    ...rest,
  });
  const out = join(folder, `${name}-out`);
  const { code, stdout, stderr } = await run("experiment", file, "--out", out);
  assert.equal(code, 0, stdout + stderr);
  const read = (path: string) => readFileSync(join(out, path), "utf8");
  const page = read("results.md");
  const shown = /^[^|]*\|(.*)\|$/m.exec(page)![1];
  for (const text of [page, read("results.tex"), stdout])
    assert.doesNotMatch(text, /accurac|undefined|NaN/i);
  return { page, stdout, head: shown, csv: read("results.csv").split("\n"), read };
}

const chance = random("grids of tasks");
const table = halves(
  "table",
  () =>
    [
      "a,b,y",
      ...Array.from({ length: 60 }, () => {
        const [a, b] = [chance.next(), chance.next()];
        return [a, b, 2 * a - b].join(",");
      }),
      "",
    ].join("\n"),
  "csv",
);

test("a regression's grid has R2, rounds to a target, and flatness of its own loss", async () => {
  const { page, head, csv, read, stdout } = await grid(
    "regression",
    { data: table, target: "y", rounds: 4 },
    { target: 0.1, flatness: { top: 1, probes: 2 } },
  );
  assert.match(head, / R2, sel \| R2, all \| R2, model \| rounds to 0\.1 \| top eigenvalue/);
  assert.match(page, /R2 \(.*; higher is better\) is on the test data/);
  assert.match(page, /Hessian of the plain loss/);
  assert.match(stdout, /R2 sel -?\d+\.\d{4} /);
  // What the table shows is what the run's own files say.
  const [sel] = csv[1].split(",").slice(2).map(Number);
  const cells = read("rounds.csv").split("\n").slice(1, 5);
  assert.ok(sel <= 1 && Number(cells[3].split(",")[3]) === sel);
  assert.match(read("r2.svg"), /test R2, sel/);
});

test("an autoencoder's grid has its error, of which less is better", async () => {
  const model = write("autoencoder.json", {
    input: [3],
    loss: { type: "meanSquaredError", target: "input" },
    layers: [
      { type: "dense", units: 2, activation: "tanh" },
      { type: "dense", units: 3 },
    ],
  });
  const { page, read } = await grid("anomaly", { data: table, target: "input", model });
  assert.match(page, /\| error, sel \| error, all \| error, model \|/);
  assert.match(page, /MAN lowers the error of every method|does not lower the error/);
  assert.match(read("error.svg"), /test error, sel/);
});

test("a text's grid has bits per symbol", async () => {
  const text = halves("text", () => "the cat sat on the mat. ".repeat(20), "txt");
  const model = write("characters.json", {
    input: [12],
    loss: { type: "softmaxCrossEntropy" },
    layers: [
      { type: "embedding", vocabulary: 11, units: 4 },
      { type: "gru", units: 4, returnSequences: true },
      { type: "dense", units: 11 },
    ],
  });
  const { page, read } = await grid("text-grid", { data: text, window: 12, model });
  assert.match(page, /\| bits per symbol, sel \|/);
  assert.match(read("bits.svg"), /test bits per symbol, sel/);
});
