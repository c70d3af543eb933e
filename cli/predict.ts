import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { softmax } from "../runtime/client/prediction.js";
import { matched } from "../runtime/data/matching.js";
import { FedflatError, ModelError } from "../runtime/errors.js";
import { expectedBy, loadModel, type Model } from "../runtime/models/model.js";
import { nodePlatform } from "../runtime/platform/node.js";
import { inWords } from "../runtime/platform/system-errors.js";
import { printableJson, printableLines } from "../runtime/protocol/printable.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { openData, openOptions } from "./data.js";
import type { SettingsOf } from "./settings.js";
import { csvField } from "./write.js";

/**
 * `fedflat predict`: class names and probabilities of every example, and the accuracy where there
 * are labels.
 */
export async function predict(settings: SettingsOf<"predict">, signal: AbortSignal): Promise<void> {
  const model = await readModel(settings.modelFolder);
  const { description } = model;
  const { test, train } = await openData(settings.data, {
    ...openOptions(settings),
    shape: description.input,
    unlabelled: true,
  });
  const dataset = matched(settings.data, (test ?? train)!, expectedBy(model));
  const trainer = trainerOf(nodePlatform({ relaxedSimd: true }).startWorker);
  try {
    const { inputs, labels } = dataset;
    const logits = await trainer.predict({ ...model, inputs }, { signal });
    write(model, labels, logits, settings.json);
  } finally {
    trainer.close();
  }
}

/** Where a model's file lies: itself, its folder, or the folder of a run. */
const PLACES = ["", "weights.safetensors", join("model", "weights.safetensors")];

/**
 * The model of a run, of its model folder, or of a file. @throws ModelError `model-file` where
 * there is none or it is damaged.
 */
export async function readModel(path: string): Promise<Model> {
  let problem: unknown;
  for (const place of PLACES)
    try {
      return loadModel(await readFile(join(path, place)));
    } catch (error) {
      if (error instanceof FedflatError) throw error;
      problem ??= isCode(error, "EISDIR") ? undefined : error;
    }
  throw new ModelError(
    "model-file",
    `"--model" expected a run's folder, a model's folder or its weights.safetensors, got ${problem === undefined || isCode(problem, "ENOENT") ? `"${path}", where there is none` : `${inWords(problem)}, "${path}"`}`,
  );
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;

function write({ classes }: Model, labels: Int32Array, logits: Float32Array, json: boolean): void {
  const labelled = labels.some((label) => label >= 0);
  const lines: string[] = [];
  if (!json)
    lines.push([...(labelled ? ["label"] : []), "prediction", ...classes].map(csvField).join(","));
  let correct = 0;
  for (let i = 0; i < labels.length; i++) {
    const probabilities = softmax(logits.subarray(i * classes.length, (i + 1) * classes.length));
    const best = probabilities.indexOf(Math.max(...probabilities));
    if (labels[i] === best) correct++;
    const prediction = classes[best];
    const label = labelled ? classes[labels[i]] : undefined;
    const names = label === undefined ? [prediction] : [label, prediction];
    lines.push(
      json
        ? JSON.stringify({ label, prediction, probabilities })
        : [...names.map(csvField), ...probabilities.map((p) => p.toFixed(6))].join(","),
    );
  }
  const examples = labels.length;
  const accuracy = labelled ? correct / examples : undefined;
  if (json) lines.push(JSON.stringify({ event: "done", examples, accuracy }));
  const shown = lines.map(json ? printableJson : printableLines);
  process.stdout.write(`${shown.join("\n")}\n`);
  if (accuracy !== undefined)
    process.stderr.write(`accuracy ${(100 * accuracy).toFixed(2)} % of ${examples} examples\n`);
}
