import { channelOf } from "../data/dataset.js";
import type { Model } from "../models/model.js";
import { networkOf } from "../models/network.js";
import { elements } from "../tensors/shape.js";
import type { Prediction } from "./options.js";

/** What the outputs of `Trainer.predict` say of each example, by the model's task. */
export function predictionsOf(
  model: Pick<Model, "description" | "classes" | "vocabulary" | "targets" | "threshold">,
  outputs: Float32Array,
): Prediction[] {
  const { output, loss, classes: width } = networkOf(model.description);
  const { task } = loss;
  const { classes, vocabulary, targets, threshold } = model;
  const size = task === "input" ? 1 : elements(output);
  const names = classes.length > 0 ? classes : vocabulary;
  const nameOf = (label: number) => names?.[label] ?? String(label);
  return Array.from({ length: outputs.length / size }, (_, i): Prediction => {
    const mine = outputs.subarray(i * size, (i + 1) * size);
    if (task === "input") {
      const [error] = mine;
      return threshold === undefined
        ? { task, error }
        : { task, error, threshold: threshold.value, anomaly: error > threshold.value };
    }
    if (task === "numbers") {
      const { mean, deviation } = targets ?? { mean: [0], deviation: [1] };
      const values = Float64Array.from(
        mine,
        (value, j) => value * channelOf(deviation, j) + channelOf(mean, j),
      );
      return { task, values };
    }
    if (task === "labels") {
      const probabilities = mine.map((score) => 1 / (1 + Math.exp(-score)));
      const there = [...probabilities.keys()].filter((label) => probabilities[label] >= 0.5);
      return { task, names: there.map(nameOf), probabilities };
    }
    const probabilities = new Float32Array(size);
    const labels: number[] = [];
    for (let from = 0; from < size; from += width) {
      const logits = mine.subarray(from, from + width);
      labels.push(logits.indexOf(largestOf(logits)));
      probabilities.set(softmax(logits), from);
    }
    if (task === "sequence") return { task, labels, names: labels.map(nameOf), probabilities };
    return { task, label: labels[0], name: nameOf(labels[0]), probabilities };
  });
}

/** exp(z_i) / sum_j exp(z_j), in float64; the largest logit is taken off first, so none overflows. */
export function softmax(logits: Float32Array): number[] {
  const largest = largestOf(logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

const largestOf = (logits: Float32Array): number =>
  logits.reduce((a, b) => Math.max(a, b), -Infinity);
