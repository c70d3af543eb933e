import type { Vector } from "../tensors/layout.js";
import { random } from "../tensors/random.js";
import type { Model, ModelCard } from "./model.js";
import { networkOf, type Network } from "./network.js";

/**
 * Weights to begin with: kernels and biases uniform in +-1/sqrt(fan_in), as PyTorch does it; gamma
 * 1 and beta 0. The same seed gives the same bits, and a parameter's values do not depend on the
 * layers before it.
 */
export function initialWeights(network: Network, seed: string): Vector {
  const weights = new Float32Array(network.layout.size);
  for (const { parameters, places } of network.layers)
    parameters.forEach(({ initial }, i) => {
      const { name, offset, size } = places[i];
      if ("constant" in initial) weights.fill(initial.constant, offset, offset + size);
      else if ("values" in initial) weights.set(initial.values, offset);
      else {
        const chance = random(seed, "initial weights", name);
        const bound = 1 / Math.sqrt(initial.fanIn);
        for (let j = offset; j < offset + size; j++) weights[j] = bound * (2 * chance.next() - 1);
      }
    });
  return weights;
}

/**
 * A model to begin a run with.
 * @param seed decides the weights, to the bit
 * @throws ModelError where the description is wrong
 */
export function initialModel(card: ModelCard, seed: string): Model {
  const network = networkOf(card.description);
  return { ...card, layout: network.layout, weights: initialWeights(network, seed) };
}
