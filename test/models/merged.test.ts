import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { merged } from "../../runtime/models/merged.js";
import type { Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { random } from "../../runtime/tensors/random.js";
import { outputsOf } from "./plain.js";

const layers = [
  { type: "dense", units: 7, activation: "tanh", lora: { rank: 2, alpha: 3 } },
  { type: "groupNorm", groups: 7 },
  { type: "dense", units: 4, lora: { rank: 3, alpha: 1 }, frozen: true },
];

function modelOf(): Model {
  const description = parseDescription({ input: [6], layers });
  const { layout } = networkOf(description);
  const chance = random("merged");
  const weights = initialWeights(networkOf(description), "w").map(
    (weight) => weight + 0.2 * chance.normal(),
  );
  return { description, layout, weights, classes: ["a", "b", "c", "d"] };
}

const logitsOf = ({ description, layout, weights }: Model, x: readonly number[]) => {
  const tensors = new Map(layout.parameters.map((one) => [one.name, parameterView(weights, one)]));
  return outputsOf(description, (name) => tensors.get(name)!, x).outputs.at(-1)!.data;
};

test("a merged model has no adapters, and the outputs that it had with them", () => {
  const model = modelOf();
  const one = merged(model);
  assert.deepEqual(
    one.layout.parameters.map(({ name }) => name),
    ["0.kernel", "0.bias", "1.gamma", "1.beta", "2.kernel", "2.bias"],
  );
  assert.ok(one.description.layers.every((layer) => !("lora" in layer)));
  const x = [0.3, -1, 2, 0.1, -0.4, 0.7];
  const expected = logitsOf(model, x);
  logitsOf(one, x).forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < 1e-6));
  assert.deepEqual(one.classes, model.classes);
});

test("a model without adapters is merged as it is", () => {
  const description = parseDescription({ input: [6], layers: [{ type: "dense", units: 2 }] });
  const { layout } = networkOf(description);
  const weights = new Float32Array(layout.size);
  const model: Model = { description, layout, weights, classes: ["a", "b"] };
  assert.equal(merged(model), model);
});
