import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readExperiment } from "../../cli/experiment/file.js";
import { cellsOf } from "../../cli/experiment/grid.js";
import { checkSettings } from "../../cli/settings.js";
import { parseDescription } from "../../runtime/models/description.js";
import { parseCard } from "../../runtime/models/model.js";
import { repository } from "../cli/command.js";

const folder = repository("examples/experiments");
const files = readdirSync(folder);

/** Runs of each file: methods, MAN or not, splits, seeds. */
const RUNS: Record<string, number> = {
  "paper-cifar-100.json": 5 * 2 * 3 * 3,
  "paper-tiny-imagenet.json": 5 * 2 * 3 * 3,
  "paper-cifar-100-50-rounds.json": 2,
  "paper-cifar-100-fedavg.json": 2,
  "fashion-mnist.json": 2 * 5,
  "scaled.json": 5 * 2,
  "scaled-zeta.json": 4,
  "scaled-fedsam.json": 2,
  "uci-har.json": 3 * 5,
  "robust.json": (3 * 5 + 9) * 3,
  // Two algorithms: FedAvg with two of the codecs, memory with all four.
  "codecs.json": (2 + 4) * 2 * 3,
  // Of the combinations, float32 as it is, int8 and topk-int8.
  "codecs-har.json": 3 * 3,
  "codecs-cifar.json": 3,
  "resnet-zeta.json": 6,
  "resnet-pytorch.json": 3,
  // Seven methods.
  "personal.json": 7 * 3,
};

for (const [name, runs] of Object.entries(RUNS))
  test(`${name} can be run`, async () => {
    const path = join(folder, name);
    const file = await readExperiment(path);
    const cells = cellsOf(file, path);
    assert.equal(cells.length, runs);
    if (file.flatness !== undefined)
      checkSettings("flatness", { modelFolder: "m", data: "d" }, file.flatness);
    // Every published number belongs to some run, under settings that the file has.
    for (const { of } of file.published)
      assert.ok(
        cells.some(({ given }) => Object.entries(of).every(([key, value]) => given[key] === value)),
        JSON.stringify(of),
      );
  });

test("the paper's set-up is what the paper says", async () => {
  const path = join(folder, "paper-cifar-100.json");
  const [{ settings }] = cellsOf(await readExperiment(path), path);
  const { clients, rounds, fraction, bernoulli, localEpochs, batchSize } = settings;
  assert.deepEqual(
    [clients, rounds, fraction, bernoulli, localEpochs, batchSize],
    [100, 500, 0.1, true, 5, 50],
  );
  const { learningRate, learningRateDecay, weightDecay, clipNorm } = settings;
  assert.deepEqual(
    [learningRate, learningRateDecay, weightDecay, clipNorm],
    [0.1, 0.998, 1e-3, 10],
  );
});

test("every file of the folder is an experiment, or a model's description or card", () => {
  for (const file of files.filter((file) => !(file in RUNS))) {
    const json = JSON.parse(readFileSync(join(folder, file), "utf8"));
    if ("description" in json) parseCard(json);
    else parseDescription(json);
  }
});
