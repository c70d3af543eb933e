import { initialWeights } from "../../runtime/models/initial.js";
import type { Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { refuseFlag } from "./imported.js";

/**
 * The model with adapters of this rank on its dense layers (alpha twice the rank), but the last,
 * which learns the task. It gives the same outputs until they are trained.
 */
export function adapted(model: Model, rank: number): Model {
  const { description, layout, weights } = model;
  const last = description.layers.length - 1;
  const layers = description.layers.map((layer, index) =>
    layer.type === "dense" && index < last && layer.lora === undefined
      ? { ...layer, lora: { rank, alpha: 2 * rank } }
      : layer,
  );
  if (layers.every((layer, index) => layer === description.layers[index]))
    refuseFlag("lora", "a dense layer before the last", "none");
  const network = networkOf({ ...description, layers });
  const next = initialWeights(network, "lora");
  for (const place of layout.parameters) {
    const to = network.layout.parameters.find(({ name }) => name === place.name)!;
    parameterView(next, to).set(parameterView(weights, place));
  }
  return { ...model, description: network.description, layout: network.layout, weights: next };
}
