import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { loadModel, type Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import type { Trainer } from "../../runtime/training/job.js";
import { partFor } from "../../runtime/client/examples.js";

const description = parseDescription({
  input: [8],
  layers: [
    { type: "dense", units: 12, activation: "relu" },
    { type: "dense", units: 3 },
  ],
});

/**
 * A small network for a task that can be learned: which of the first three inputs is the largest.
 */
export function learningModel(): Model {
  const network = networkOf(description);
  return {
    description,
    layout: network.layout,
    weights: initialWeights(network, "learning"),
    classes: ["first", "second", "third"],
  };
}

/** So many examples of the task. */
export function learningData(
  seed: string | number,
  count: number,
): { readonly x: Float32Array; readonly y: number[] } {
  const chance = random("learning data", seed);
  const x = Float32Array.from({ length: 8 * count }, () => chance.normal());
  const y = Array.from({ length: count }, (_, i) => {
    const [a, b, c] = x.subarray(8 * i);
    return a >= b && a >= c ? 0 : b >= c ? 1 : 2;
  });
  return { x, y };
}

/** Share of 600 fresh examples that a model blob gets right. */
export async function accuracyOf(blob: Uint8Array, trainer: Trainer): Promise<number> {
  const { weights, classes } = loadModel(blob);
  const part = partFor(learningData("test", 600), { input: description.input, classes });
  const { count, correct } = await trainer.evaluate({
    description,
    weights,
    part,
  });
  return correct / count;
}
