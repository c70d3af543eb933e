import type { Prediction } from "./options.js";

/** The most probable class of each example, from the logits of all of them end to end. */
export const predictionsOf = (logits: Float32Array, classes: readonly string[]): Prediction[] =>
  Array.from({ length: logits.length / classes.length }, (_, i) =>
    prediction(logits.subarray(i * classes.length, (i + 1) * classes.length), classes),
  );

function prediction(logits: Float32Array, classes: readonly string[]): Prediction {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  const label = logits.indexOf(largest);
  return {
    label,
    name: classes[label],
    probabilities: exponentials.map((value) => value / sum),
  };
}
