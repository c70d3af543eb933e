import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { BUILT_IN } from "../../runtime/algorithms/built-in.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import type { Model } from "../../runtime/models/model.js";
import { loadModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { FederatedClient } from "../../runtime/node.js";
import { random } from "../../runtime/tensors/random.js";
import { federation, type Federation } from "../aggregator/run/federation.js";
import { repository } from "../cli/command.js";

// examples/python/ shares no code with the package: it was written after docs/ alone.

/** Debian's, which has the modules; another one may come first in PATH. */
const PYTHON = "/usr/bin/python3";
const MODULES = "numpy, cryptography, websockets";
const looked = spawnSync(PYTHON, ["-c", `import ${MODULES}`], { encoding: "utf8" });
const missing =
  looked.error !== undefined
    ? `no ${PYTHON} here`
    : looked.status !== 0
      ? `${PYTHON} cannot import ${MODULES}: ${looked.stderr.trim().split("\n").pop()}`
      : false;

let folder: string;
before(async () => (folder = await mkdtemp(join(tmpdir(), "fedflat-python-"))));
after(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));

const description = parseDescription({
  input: [2, 3],
  layers: [
    { type: "flatten" },
    { type: "dense", units: 8, activation: "relu" },
    { type: "dense", units: 7 },
    { type: "relu" },
    { type: "dense", units: 3 },
  ],
});

function model(): Model {
  const { layout } = networkOf(description);
  return {
    description,
    layout,
    weights: initialWeights(networkOf(description), "python"),
    normalisation: { scale: 2, mean: [0.1, -0.2, 0.3], deviation: [0.7, 1, 1.5] },
    classes: ["low", "middle", "high"],
  };
}

/** Examples whose class is where the sum of their numbers lies. */
function examples(seed: string, count: number): { x: Float32Array; y: number[] } {
  const chance = random(seed);
  const x = Float32Array.from({ length: 6 * count }, () => chance.normal());
  const sums = Array.from({ length: count }, (_, i) =>
    x.subarray(6 * i, 6 * i + 6).reduce((a, b) => a + b, 0),
  );
  return { x, y: sums.map((sum) => (sum < -1 ? 0 : sum < 1 ? 1 : 2)) };
}

type Data = ReturnType<typeof examples>;

/** The Python client as a process of its own. */
async function python(f: Federation, name: string, { x, y }: Data, holdOut: number) {
  const data = join(folder, `${name}.npz`);
  await writeFile(`${data}.json`, JSON.stringify({ x: [...x], y }));
  const made = spawnSync(PYTHON, [
    "-c",
    `import json, sys, numpy as np
d = json.load(open(sys.argv[1] + ".json"))
np.savez(sys.argv[1], x=np.array(d["x"], "f4").reshape(-1, 2, 3), y=d["y"])`,
    data,
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  const program = repository("examples/python/client.py");
  const child = spawn(PYTHON, [
    ...["-B", program, "--url", f.url, "--data", data],
    ...["--state", join(folder, name), "--hold-out", String(holdOut)],
  ]);
  let said = "";
  child.stdout.on("data", (text) => (said += String(text)));
  child.stderr.on("data", (text) => (said += String(text)));
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  after(() => child.kill("SIGKILL"));
  return { child, ended, said: () => said };
}

/** A client of the package, with these examples. */
function ours(f: Federation, name: string, data: Data, holdOut: number) {
  const state = join(folder, name);
  const client = new FederatedClient({ url: f.url, state, data, holdOut });
  const ended = client.run();
  after(() => client.stop());
  return ended;
}

test(
  "a round of full batches in Python ends at the weights that fedflat's own client has, within 1e-5",
  {
    skip: missing,
  },
  async (t) => {
    const data = examples("full batch", 120);
    // With a batch of all examples their order does not matter, and nothing else of such a round is
    // left to chance. A federation of one client moves the model by just its update, so what is
    // compared is the committed model of two such federations.
    const train = async (start: (f: Federation) => Promise<unknown>) => {
      const settings = { rounds: 1, localEpochs: 5, batchSize: 120, learningRate: 0.5 };
      const f = await federation({ ...settings, clipNorm: 0.2, zeta: 0.3 }, { model: model() });
      t.after(() => f.end());
      const line = new Promise<{ activationNorms: readonly number[]; lossAfter: number }>(
        (resolve) =>
          f.aggregator.on("round", ({ activationNorms = [], lossAfter = NaN }) =>
            resolve({ activationNorms, lossAfter }),
          ),
      );
      const ended = start(f);
      const { reason, model: blob } = await f.aggregator.done;
      assert.equal(reason, "finished");
      void f.aggregator.stop();
      await ended;
      return { weights: loadModel(blob).weights, line: await line };
    };
    const own = await train((f) => ours(f, "own", data, 0));
    const theirs = await train(async (f) => {
      const { ended, said } = await python(f, "alone", data, 0);
      assert.equal(await ended, 0, said());
    });
    const largest = (of: (i: number) => number) =>
      own.weights.reduce((most, _, i) => Math.max(most, Math.abs(of(i))), 0);
    const apart = largest((i) => own.weights[i] - theirs.weights[i]);
    const moved = largest((i) => own.weights[i] - model().weights[i]);
    t.diagnostic(`apart ${apart}, moved ${moved}`);
    assert.ok(apart <= 1e-5, `apart ${apart}`);
    assert.ok(moved > 0.01, `moved ${moved}`);
    assert.equal(theirs.line.activationNorms.length, 2);
    own.line.activationNorms.forEach((norm, i) =>
      assert.ok(Math.abs(norm - theirs.line.activationNorms[i]) <= 1e-5 * norm),
    );
    assert.ok(Math.abs(own.line.lossAfter - theirs.line.lossAfter) <= 1e-5);
  },
);

test(
  "a Python client trains beside two of fedflat's own, evaluates, and goes on where it was killed",
  {
    skip: missing,
  },
  async (t) => {
    const f = await federation(
      {
        ...{ rounds: 6, minimum: 3, gather: 3, batchSize: 10, localEpochs: 2, learningRate: 0.2 },
        ...{ absence: 20_000, evaluateFraction: 1 },
      },
      { model: model() },
    );
    t.after(() => f.end());
    const rounds: { participants: readonly string[]; lossAfter: number }[] = [];
    const evaluated: number[] = [];
    let first = await python(f, "beside", examples("one", 90), 0.1);
    let killed = false;
    const again = new Promise<typeof first>((resolve, reject) =>
      f.aggregator.on("round", ({ participants, lossAfter = NaN }) => {
        rounds.push({ participants, lossAfter });
        if (killed) return;
        killed = true;
        first.child.kill("SIGKILL");
        first.ended.then(() => python(f, "beside", examples("one", 90), 0.1)).then(resolve, reject);
      }),
    );
    f.aggregator.on("evaluation", ({ federated }) => {
      if (federated !== undefined) evaluated.push(federated.clients);
    });
    const others = [
      ours(f, "second", examples("two", 120), 0.1),
      ours(f, "third", examples("three", 60), 0.1),
    ];
    const { reason } = await f.aggregator.done;
    assert.equal(reason, "finished");
    void f.aggregator.stop();
    await Promise.all(others);
    const last = await again;
    assert.equal(await last.ended, 0, last.said());
    assert.equal(rounds.length, 6);
    for (const { participants } of rounds) assert.equal(participants.length, 3);
    assert.ok(
      rounds[5].lossAfter < 0.7 * rounds[0].lossAfter,
      JSON.stringify(rounds.map((r) => r.lossAfter)),
    );
    assert.ok(evaluated.includes(3), String(evaluated));
    // The model of the end is there too.
    const bytes = await readFile(join(folder, "beside", "model.safetensors"));
    assert.deepEqual(loadModel(bytes).classes, model().classes);
    assert.match(last.said(), /^Finished: /m);
  },
);

test(
  "the generator that docs/algorithms.md shows in Python gives the numbers that it shows",
  {
    skip: missing,
  },
  async () => {
    const page = await readFile(repository("docs/algorithms.md"), "utf8");
    const [, program] = /```python\n([^]*?)```/.exec(page)!;
    const shown = [...page.matchAll(/^\| `("[^|]*)` +\| ([\d, ]+?) +\|$/gm)];
    const lines = shown.map(
      ([, parts]) => `bits = generator(${parts}); print(bits(), bits(), bits(), sep=", ")`,
    );
    const { stdout, stderr } = spawnSync(PYTHON, ["-c", program + lines.join("\n")], {
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    assert.deepEqual(
      stdout.trim().split("\n"),
      shown.map(([, , numbers]) => numbers),
    );
  },
);

test(
  "every algorithm as docs/algorithms.md has it, plain and with MAN, gives the reference's weights",
  {
    skip: missing,
  },
  () => {
    const program = repository("test/examples/algorithms.py");
    const vectors = process.env["FEDFLAT_VECTORS"] ?? repository("test/vectors");
    const { stdout, stderr } = spawnSync(
      PYTHON,
      ["-B", program, repository("examples/python"), vectors],
      { encoding: "utf8" },
    );
    assert.equal(stderr, "");
    const apart = JSON.parse(stdout) as Record<string, number>;
    // What a codec leaves out is no part of these vectors: codecs/feedback.test.ts follows its own.
    // Nor are models of a client's own: algorithms/ditto.test.ts does.
    const without = ["memory", "residual", "ditto"];
    assert.deepEqual(
      Object.keys(apart).sort(),
      BUILT_IN.filter(({ name }) => !without.includes(name))
        .flatMap(({ name }) => [`${name}-man`, `${name}-plain`])
        .sort(),
    );
    for (const [run, difference] of Object.entries(apart))
      assert.ok(difference <= 1e-6, `${run} is off by ${difference}`);
  },
);
