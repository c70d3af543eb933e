import type { Model } from "./model.js";
import { networkOf } from "./network.js";
import { parameterView } from "../tensors/layout.js";

/**
 * The model with every adapted kernel as one: W + alpha/rank A B in the place of W, A and B
 * (layers/lora.ts). It gives the same outputs, and is trained no further.
 */
export function merged(model: Model): Model {
  const { description, weights, layout } = model;
  if (!description.layers.some((layer) => "lora" in layer && layer.lora)) return model;
  const layers = description.layers.map((layer) => {
    if (layer.type !== "dense") return layer;
    const { lora: _, ...plain } = layer;
    return plain;
  });
  const plain = { ...description, layers };
  const next = { ...model, description: plain, layout: networkOf(plain).layout };
  const tensors = new Map(layout.parameters.map((one) => [one.name, parameterView(weights, one)]));
  const whole = new Float32Array(next.layout.size);
  for (const place of next.layout.parameters)
    parameterView(whole, place).set(tensors.get(place.name)!);
  description.layers.forEach((layer, index) => {
    if (layer.type !== "dense" || layer.lora === undefined) return;
    const { units, lora } = layer;
    const [a, b] = ["loraA", "loraB"].map((name) => tensors.get(`${index}.${name}`)!);
    const kernel = next.layout.parameters.find(({ name }) => name === `${index}.kernel`)!;
    const to = parameterView(whole, kernel);
    for (let i = 0; i < to.length; i++) {
      const [row, unit] = [Math.floor(i / units), i % units];
      let sum = 0;
      for (let r = 0; r < lora.rank; r++) sum += a[row * lora.rank + r] * b[r * units + unit];
      to[i] += (lora.alpha / lora.rank) * sum;
    }
  });
  return { ...next, weights: whole };
}
