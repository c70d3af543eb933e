import type { Prediction } from "../runtime/client.js";
import { predictionsOf, softmax } from "../runtime/client/prediction.js";
import { startOf, type Dataset } from "../runtime/data/dataset.js";
import { matched } from "../runtime/data/matching.js";
import {
  metricReader,
  METRICS,
  METRIC_NAMES,
  metricText,
} from "../runtime/models/metrics/built-in.js";
import { merged } from "../runtime/models/merged.js";
import { expectedBy, type Model } from "../runtime/models/model.js";
import { nodePlatform } from "../runtime/platform/node.js";
import { printableJson, printableLines } from "../runtime/protocol/printable.js";
import { weightedOf } from "../runtime/training/job.js";
import type { Evaluation } from "../runtime/training/local-round.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { openData, openOptions, optionsFor } from "./data.js";
import { wholeOf } from "./federation.js";
import { readModel } from "./model-file.js";
import type { SettingsOf } from "./settings.js";
import { csvField } from "./write.js";

/**
 * `fedflat predict`: what the model's loss implies of every example (class names and probabilities,
 * numbers, or an error), and the metrics where the data say what is right.
 */
export async function predict(settings: SettingsOf<"predict">, signal: AbortSignal): Promise<void> {
  const model = merged(
    await readModel(settings.modelFolder, "--model", (note) => process.stderr.write(`${note}\n`)),
  );
  const expected = expectedBy(model);
  const { test, train } = await openData(settings.data, {
    ...optionsFor(model, openOptions(settings)),
    unlabelled: true,
  });
  const dataset = matched(settings.data, (test ?? train)!, expected);
  const trainer = trainerOf(nodePlatform({ relaxedSimd: true }).startWorker);
  try {
    const { inputs, starts, labels } = dataset;
    const outputs = await trainer.predict({ ...weightedOf(model), inputs, starts }, { signal });
    if (expected.target === undefined) return write(model, labels, outputs, settings.json);
    const isKnown = dataset.targets !== undefined || expected.target.kind === "input";
    const part = wholeOf(dataset);
    const evaluation = isKnown
      ? await trainer.evaluate({ ...weightedOf(model), part }, { signal })
      : undefined;
    writeOthers(model, dataset, predictionsOf(model, outputs), evaluation, settings.json);
  } finally {
    trainer.close();
  }
}

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

/** Predictions of any other task: a line for each example, and the metrics at the end. */
function writeOthers(
  model: Model,
  dataset: Dataset,
  predictions: readonly Prediction[],
  evaluation: Evaluation | undefined,
  json: boolean,
): void {
  const { targets } = dataset;
  const names = namesOf(model, dataset);
  const lines: string[] = [];
  predictions.forEach((prediction, i) => {
    const start = targets === undefined ? 0 : startOf(targets.starts, i, targets.size);
    const target = targets && [...targets.values.subarray(start, start + targets.size)];
    const fields = fieldsOf(prediction, names, target);
    if (i === 0 && !json) lines.push(fields.map(([name]) => csvField(name)).join(","));
    lines.push(
      json
        ? JSON.stringify({ target, prediction: plain(prediction) })
        : fields.map(([, value]) => csvField(value)).join(","),
    );
  });
  const examples = predictions.length;
  const read =
    evaluation &&
    metricReader(model).read({
      ...evaluation,
      loss: evaluation.loss / evaluation.count,
      sums: evaluation.sums && { values: evaluation.sums, count: evaluation.count },
    });
  if (json) lines.push(JSON.stringify({ event: "done", examples, metrics: read?.values }));
  process.stdout.write(`${lines.map(json ? printableJson : printableLines).join("\n")}\n`);
  if (read === undefined) return;
  const said = METRIC_NAMES.filter((name) => read.values[name] !== undefined).map(
    (name) => `${METRICS[name].title} ${metricText(name, read.values[name])}`,
  );
  process.stderr.write(`${said.join(", ")} of ${examples} examples\n`);
}

/** Names of the output's numbers or labels. */
function namesOf({ classes, targets }: Model, dataset: Dataset): (i: number) => string {
  const names = classes.length > 0 ? classes : (targets?.columns ?? dataset.targets?.columns);
  return (i) => names?.[i] ?? String(i);
}

/** A prediction as named fields of a line. */
function fieldsOf(
  prediction: Prediction,
  name: (i: number) => string,
  target: readonly number[] | undefined,
): (readonly [name: string, value: string])[] {
  const six = (value: number) => String(Number(value.toPrecision(6)));
  switch (prediction.task) {
    case "numbers":
      return [...prediction.values].flatMap((value, i) => [
        ...(target === undefined ? [] : [[name(i), six(target[i])] as const]),
        [`predicted ${name(i)}`, six(value)] as const,
      ]);
    case "labels":
      return [
        ...(target === undefined
          ? []
          : [["labels", target.flatMap((y, i) => (y >= 0.5 ? [name(i)] : [])).join(" ")] as const]),
        ["prediction", prediction.names.join(" ")],
        ...Array.from(prediction.probabilities, (p, i) => [name(i), p.toFixed(6)] as const),
      ];
    case "input":
      return [
        ["error", six(prediction.error)],
        ...(prediction.threshold === undefined
          ? []
          : [
              ["threshold", six(prediction.threshold)] as const,
              ["anomaly", String(prediction.anomaly)] as const,
            ]),
      ];
    case "sequence": {
      const single = prediction.names.every((one) => [...one].length === 1);
      return [["prediction", prediction.names.join(single ? "" : " ")]];
    }
    case "classes":
      return [["prediction", prediction.name]];
  }
}

/** A prediction as JSON holds it: numbers in plain lists. */
const plain = (prediction: Prediction): object =>
  Object.fromEntries(
    Object.entries(prediction).map(([key, value]) => [
      key,
      ArrayBuffer.isView(value) ? [...(value as Float32Array | Float64Array)] : value,
    ]),
  );
