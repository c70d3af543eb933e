import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { run } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-labels-"));
after(() => rmSync(folder, { recursive: true }));

/** A table on disk: animals around (0, 0), (400, 0) and (0, 400), in the order of the columns. */
function table(name: string, columns: readonly string[], animals: readonly string[]): string {
  const centres: Record<string, [number, number]> = {
    cat: [0, 0],
    dog: [400, 0],
    rabbit: [0, 400],
  };
  const lines = Array.from({ length: 20 }, (_, i) => i).flatMap((i) =>
    animals.map((animal) => {
      const [x, y] = centres[animal];
      const fields: Record<string, unknown> = { x: x + i, y: y + i, Species: animal };
      return columns.map((column) => fields[column]).join(",");
    }),
  );
  const path = join(folder, `${name}.csv`);
  writeFileSync(path, [columns.join(","), ...lines, ""].join("\n"));
  return path;
}

const all = ["rabbit", "cat", "dog"];

test("a table trains without a model file, and its names of classes and columns decide", async () => {
  const data = table("train", ["x", "y", "Species"], all);
  const trained = join(folder, "run");
  const simulated = await run(
    ...["simulate", "--data", data, "--label", "Species", "--clients", "2"],
    ...["--rounds", "20", "--learning-rate", "0.1", "--run", trained],
  );
  assert.equal(simulated.code, 0, simulated.stderr);
  assert.match(simulated.stdout, /clients train perceptron with/);

  // Another order of columns, fewer classes: numbered by themselves, dog would be 0.
  const other = table("other", ["Species", "y", "x"], ["rabbit", "dog"]);
  const model = ["--model", join(trained, "model")];
  const predicted = await run("predict", ...model, "--data", other, "--label", "Species");
  assert.equal(predicted.code, 0, predicted.stderr);
  const [header, ...lines] = predicted.stdout.trim().split("\n");
  assert.equal(header, "label,prediction,cat,dog,rabbit");
  assert.match(lines[0], /^rabbit,rabbit,/);
  assert.match(lines[1], /^dog,dog,/);
  assert.match(predicted.stderr, /accuracy 100.00 % of 40 examples/);

  const unknown = join(folder, "unknown.csv");
  writeFileSync(unknown, "x,y,Species\n1,2,hamster\n");
  const refused = await run("predict", ...model, "--data", unknown, "--label", "Species");
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /^fedflat: ".*unknown.csv" label of example 0 expected one of the model's classes, "cat", "dog", "rabbit", got "hamster"\n$/,
  );
});

test("the flag for the label's column is named where no column's name says it", async () => {
  const data = table("unnamed", ["x", "Species"], all);
  const { code, stderr } = await run("simulate", "--data", data, "--run", join(folder, "none"));
  assert.equal(code, 1);
  assert.match(stderr, /label column expected one named .*, or the name of another \(--label\)/);
});

test("a model of fewer or more outputs than the data have classes is refused at once", async () => {
  const data = table("classes", ["x", "y", "Species"], all);
  for (const units of [2, 5]) {
    const model = join(folder, `model-${units}.json`);
    writeFileSync(model, JSON.stringify({ input: [2], layers: [{ type: "dense", units }] }));
    for (const command of [
      ["simulate", "--data", data, "--run", join(folder, "none")],
      ["serve", "--test", data, "--port", "0", "--run", join(folder, "none")],
    ]) {
      const { code, stderr } = await run(...command, "--label", "Species", "--model", model);
      assert.equal(code, 1);
      assert.match(
        stderr,
        new RegExp(`^fedflat: "data" expected ${units} classes for the model .*, got 3\n$`),
      );
    }
  }
});
