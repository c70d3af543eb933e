import type { Prediction } from "./options.js";

/** The most probable class of each example, from the logits of all of them end to end. */
export const predictionsOf = (logits: Float32Array, classes: readonly string[]): Prediction[] =>
  Array.from({ length: logits.length / classes.length }, (_, i) =>
    prediction(logits.subarray(i * classes.length, (i + 1) * classes.length), classes),
  );

function prediction(logits: Float32Array, classes: readonly string[]): Prediction {
  const label = logits.indexOf(largestOf(logits));
  return { label, name: classes[label], probabilities: Float32Array.from(softmax(logits)) };
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
