import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ownAlgorithm } from "../../cli/algorithm.js";
import { fedavg } from "../../runtime/algorithms/fedavg.js";
import { ConfigError } from "../../runtime/errors.js";
import { begin, clientsOf, playRound } from "../algorithms/rounds-in-process.js";
import { FASHION, repository, run, start } from "../cli/command.js";
import { trainerHere } from "../training/engines.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-algorithm-"));
after(() => rmSync(folder, { recursive: true }));

function written(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** The program that the documentation shows. */
const page = readFileSync(repository("docs/adding-an-algorithm.md"), "utf8");
const [, shown] = /```js\n(\/\*\*[^]*?)```/.exec(page) ?? [];
const example = repository("examples/algorithms/fedcm.js");

test("the documentation shows the example, and the example has the types of the package", () => {
  assert.equal(shown, readFileSync(example, "utf8"));
  const file = written("shown.js", shown);
  const types = fileURLToPath(new URL("../../runtime/index.d.ts", import.meta.url));
  const project = written(
    "tsconfig.json",
    JSON.stringify({
      compilerOptions: {
        strict: true,
        noEmit: true,
        allowJs: true,
        checkJs: true,
        skipLibCheck: true,
        target: "ES2022",
        module: "NodeNext",
        types: [],
        paths: { fedflat: [types] },
      },
      files: [file],
    }),
  );
  const manifest = createRequire(import.meta.url).resolve("typescript/package.json");
  try {
    execFileSync(process.execPath, [join(dirname(manifest), "bin", "tsc"), ...["-p", project]]);
  } catch (error) {
    assert.fail(String((error as { stdout?: Buffer }).stdout));
  }
});

test("the example trains: like FedAvg with beta 0 and in the first round, otherwise after that", async () => {
  const algorithm = (await ownAlgorithm(example))!;
  const trainer = await trainerHere("simd");
  const clients = clientsOf([8, 5, 11]);
  const play = async (own: typeof algorithm, beta?: number) => {
    const algorithmSettings = beta === undefined ? own.defaults : { beta };
    let run = begin(own, algorithmSettings, 3);
    const models = [];
    for (const [round, participants] of [
      [0, 1],
      [1, 2],
      [0, 2],
    ].entries()) {
      run = await playRound(trainer, own, run, clients, participants, {
        round,
        algorithmSettings,
      });
      models.push(run.global);
    }
    return models;
  };
  const plain = await play(fedavg);
  const still = await play(algorithm, 0);
  const moved = await play(algorithm);
  still.forEach((model, round) =>
    model.forEach((w, i) => assert.ok(Math.abs(w - plain[round][i]) < 2e-6)),
  );
  assert.deepEqual(moved[0], still[0]);
  assert.notDeepEqual(moved[1], still[1]);
  assert.ok(moved[2].every(Number.isFinite));
  trainer.close();
});

test("anything with a slash or .js is a file, any other name is not", async () => {
  assert.equal(await ownAlgorithm("fedavg"), undefined);
  assert.equal(await ownAlgorithm("fedsam+fedadam"), undefined);
  assert.equal((await ownAlgorithm(example))?.name, "fedcm");
});

test("the example runs from the command line: simulated, and over sockets to the same bytes", async () => {
  const common = [
    ...["--algorithm", example, "--set", "beta=0.3", "--rounds", "2"],
    ...["--local-epochs", "1", "--batch-size", "500", "--evaluate-every", "2"],
  ];
  const rounds = (name: string) => readFileSync(join(folder, name, "rounds.jsonl"), "utf8");
  const simulated = await run(
    ...["simulate", ...common, "--data", FASHION, "--clients", "2"],
    ...["--run", join(folder, "simulated")],
  );
  assert.equal(simulated.code, 0, simulated.stderr);
  assert.equal(JSON.parse(rounds("simulated").split("\n")[1]).algorithm, "fedcm");

  const server = start(
    ...["serve", "--port", "0", ...common, "--gather", "2"],
    ...["--over-selection", "1", "--run", join(folder, "served"), "--json"],
    // As in the simulation, where the test data evaluate.
    ...["--test", FASHION],
  );
  const [, url] = await server.until(/"url":"([^"]+)"/);
  const clients = [1, 2].map((k) =>
    start(
      ...["join", "--url", url, "--data", FASHION, "--part", `${k}/2`],
      ...["--algorithm", example, "--lab-identity", `1:${k}`],
      ...["--hold-out", "0", "--state", join(folder, `client ${k}`)],
    ),
  );
  for (const { ended } of [server, ...clients]) {
    const { code, stderr } = await ended;
    assert.equal(code, 0, stderr);
  }
  assert.equal(rounds("served"), rounds("simulated"));
});

test("what is wrong in a file is said by field, in one sentence", async () => {
  const refuses = (path: string, message: RegExp) =>
    assert.rejects(
      ownAlgorithm(path),
      (error: Error) =>
        error instanceof ConfigError &&
        error.code === "algorithm-file" &&
        message.test(error.message) &&
        !error.message.includes("\n"),
      String(message),
    );
  let files = 0;
  const changed = (from: string | RegExp, to: string) => {
    const text = shown.replace(from, to);
    assert.notEqual(text, shown);
    return written(`changed-${++files}.mjs`, text);
  };
  await refuses(join(folder, "absent.js"), /a JavaScript module that loads/);
  await refuses(written("text.mjs", "no code {"), /that loads, got/);
  await refuses(
    written("empty.mjs", "export const x = 1;"),
    /an algorithm as the default export .*, got nothing/,
  );
  await refuses(changed('name: "fedcm"', 'name: "Fed CM"'), /"name" in/);
  await refuses(changed("beta: 0.5", 'beta: "much"'), /"defaults.beta" in/);
  await refuses(changed("objective:", "objectives:"), /"client.objective" in/);
  await refuses(changed("update:", "afterTraining:"), /"client.update" in/);
  await refuses(
    changed("state: [],", 'state: ["drift"],'),
    /"client.nextState" in .* a function that gives drift, got nothing/,
  );
  await refuses(changed('delta: "samples"', 'delta: "all"'), /"server.folds/);
  await refuses(changed('delta: "samples"', ""), /a weighting of "delta"/);
  await refuses(
    changed("broadcast: ({ momentum }) => ({ momentum }),", ""),
    /"server.broadcast" in .* momentum, got nothing/,
  );
});
