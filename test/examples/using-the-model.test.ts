import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import type { ModelDescription } from "../../runtime/models/description.js";
import { writeModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { repository, run } from "../cli/command.js";

// Inside the repository, so that its packages are found.
const folder = mkdtempSync(repository("dist/using-"));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

const page = readFileSync(repository("docs/using-the-model.md"), "utf8");
const [numpy, pytorch, tfjs] = [...page.matchAll(/```(?:python|js)\n(.*?)```/gs)].map(
  ([, code]) => code,
);

const description: ModelDescription = {
  input: [6, 7, 2],
  layers: [
    { type: "conv2d", filters: 3, kernelSize: [3, 2], activation: "relu" },
    { type: "maxPool", size: 2 },
    { type: "flatten" },
    { type: "dense", units: 3 },
  ],
};
const { layout } = networkOf(description);
writeFileSync(
  at("weights.safetensors"),
  writeModel({
    description,
    layout,
    weights: Float32Array.from({ length: layout.size }, (_, i) => Math.sin(3 * i + 1)),
    normalisation: { scale: 2, mean: [0.1, -0.2], deviation: [0.5, 0.7] },
    classes: ["cat", "dog", "rabbit"],
  }),
);
const SIZE = 6 * 7 * 2;
const values = Float32Array.from({ length: 4 * SIZE }, (_, i) => Math.cos(5 * i));
const header =
  `{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6, 7, 2), }`.padEnd(117) + "\n";
writeFileSync(
  at("x.npy"),
  Buffer.concat([
    Buffer.from("\x93NUMPY\x01\x00", "latin1"),
    Uint8Array.of(header.length, 0),
    Buffer.from(header),
    new Uint8Array(values.buffer),
  ]),
);
const nested = (flat: readonly number[], [length, ...rest]: readonly number[]): unknown =>
  rest.length === 0
    ? flat
    : Array.from({ length }, (_, i) => {
        const size = flat.length / length;
        return nested(flat.slice(i * size, (i + 1) * size), rest);
      });
writeFileSync(at("x.json"), JSON.stringify(nested([...values], [4, 6, 7, 2])));

interface Line {
  readonly prediction: string;
  readonly probabilities: readonly number[];
}
const linesOf = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);

async function assertPredicts(program: string, ...argv: string[]): Promise<void> {
  const file = at("weights.safetensors");
  const expected = await run("predict", "--model", file, "--data", at("x.npy"), "--json");
  assert.equal(expected.code, 0, expected.stderr);
  const { stdout } = await promisify(execFile)(program, [...argv.slice(0, 1), file, argv[1]]);
  const [got, wanted] = [linesOf(stdout), linesOf(expected.stdout).slice(0, 4)];
  assert.equal(got.length, 4);
  got.forEach(({ prediction, probabilities }, i) => {
    assert.equal(prediction, wanted[i].prediction);
    probabilities.forEach((p, k) =>
      assert.ok(Math.abs(p - wanted[i].probabilities[k]) < 1e-5, `${p} of example ${i}`),
    );
  });
}

/** The first Python that has these modules: the one in PATH, or the system's. */
async function pythonWith(modules: string): Promise<string | undefined> {
  for (const python of ["python3", "/usr/bin/python3"])
    if (await promisify(execFile)(python, ["-c", `import ${modules}`]).catch(() => undefined))
      return python;
  return undefined;
}

// All awaited before the first test is named: the runner ends a file that names none for a while.
const programs = await Promise.all(
  (
    [
      ["NumPy", "numpy", numpy],
      ["PyTorch", "numpy, torch", pytorch],
    ] as const
  ).map(async ([name, modules, code]) => ({
    name,
    modules,
    code,
    python: await pythonWith(modules),
  })),
);

for (const { name, modules, code, python } of programs)
  test(
    `the program for ${name} predicts what fedflat predicts`,
    { skip: python === undefined && `python3 with ${modules} is not here` },
    async () => {
      writeFileSync(at("use.py"), code);
      await assertPredicts(python!, at("use.py"), at("x.npy"));
    },
  );

test("the program for TensorFlow.js predicts what fedflat predicts", async () => {
  writeFileSync(at("use.mjs"), tfjs);
  await assertPredicts(process.execPath, at("use.mjs"), at("x.json"));
});
