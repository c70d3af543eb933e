import assert from "node:assert/strict";
import { test } from "node:test";
import { remarkOn, remarkOnModel } from "../../cli/remarks.js";
import type { View } from "../../cli/view.js";
import type { Dataset } from "../../runtime/data/dataset.js";
import { preset } from "../../runtime/models/presets.js";

const into = (said: string[]): View => ({
  say: (_event, _facts, sentence) => void said.push(sentence ?? ""),
  progress() {},
  round() {},
  draw() {},
  close() {},
});

function remarks(changes: Partial<Dataset>, normalises = true): string[] {
  const said: string[] = [];
  const dataset: Dataset = {
    shape: [1],
    inputs: Float32Array.of(100, 200),
    labels: Int32Array.of(1, 2),
    classes: ["0", "1", "2"],
    ...changes,
  };
  remarkOn(into(said), "my data", dataset, { normalises });
  return said;
}

test("classes that are only numbered, and of which there is no example, are named", () => {
  assert.deepEqual(remarks({}), ["Class 0 of 3 in my data has no example."]);
  assert.deepEqual(remarks({ labels: Int32Array.of(0, 3), classes: ["0", "1", "2", "3"] }), [
    "Classes 1, 2 of 4 in my data have no example.",
  ]);
  assert.deepEqual(remarks({ labels: Int32Array.of(0, 1), classes: ["0", "1"] }), []);
  assert.deepEqual(remarks({ classes: ["cat", "dog", "rabbit"] }), []);
});

test("inputs far from unit scale are remarked on where the model has no normalisation", () => {
  const [, sentence] = remarks({}, false);
  assert.match(sentence, /^Inputs are far from unit scale \(channel 0: mean 150, deviation 50\)/);
});

test("of a model of texts that has no vocabulary it is said that clients with texts cannot take part", () => {
  const said: string[] = [];
  const view = into(said);
  const [characters, sensor] = [preset("characters", 3), preset("sensor")];
  remarkOnModel(view, { description: sensor, classes: [] });
  remarkOnModel(view, { description: characters, classes: [], vocabulary: ["a", "b", "c"] });
  assert.deepEqual(said, []);
  remarkOnModel(view, { description: characters, classes: [] });
  assert.match(said.join(), /no vocabulary, .* --test with public texts/);
});
