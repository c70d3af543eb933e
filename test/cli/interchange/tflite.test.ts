import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { modelOf } from "../../../cli/interchange/imported.js";
import { readTflite } from "../../../cli/interchange/tflite.js";
import { assertNear, close, MODELS, outputsOf } from "./running.js";

after(close);

const opened = (name: string) => readTflite(readFileSync(join(MODELS, "tflite", name)));

test("TFLite's own sine of a number, from three dense layers", async () => {
  const imported = opened("hello_world_float.tflite");
  assert.deepEqual(imported.description.layers, [
    { type: "dense", units: 16, activation: "relu" },
    { type: "dense", units: 16, activation: "relu" },
    { type: "dense", units: 1 },
  ]);
  // The network is that near to what it learned.
  const x = Float32Array.from({ length: 60 }, (_, i) => i / 10);
  assertNear(await outputsOf(imported, x), x.map(Math.sin), 0.15);
});

test("a LSTM over an image's rows: its layers", () => {
  const { description, tensors } = opened("trained_lstm.tflite");
  assert.deepEqual(description.input, [28, 28]);
  assert.deepEqual(
    description.layers.map(({ type }) => type),
    ["lstm", "flatten", "dense"],
  );
  const model = modelOf({ description, tensors, notes: [] });
  assert.ok(model.weights.some((value) => value !== 0));
});
