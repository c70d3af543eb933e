import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { modelOf } from "../../../cli/interchange/imported.js";
import { parseDescription } from "../../../runtime/models/description.js";
import { initialModel } from "../../../runtime/models/initial.js";
import type { Model } from "../../../runtime/models/model.js";
import { networkOf } from "../../../runtime/models/network.js";
import { nodePlatform } from "../../../runtime/platform/node.js";
import { preset, PRESET_NAMES } from "../../../runtime/models/presets.js";
import { elements } from "../../../runtime/tensors/shape.js";
import { weightedOf } from "../../../runtime/training/job.js";
import { trainerOf } from "../../../runtime/training/trainer.js";
import { pythonThatRuns, runPython } from "./python.js";
import { assertNear, close, numbers } from "./running.js";
import { saveInputs, savedOutputs, WRITERS } from "./running-written.js";
import { BY_FORM, BY_LAYER } from "./networks.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-written-"));
const trainer = trainerOf(nodePlatform({ relaxedSimd: false }).startWorker);
after(() => {
  close();
  trainer.close();
  rmSync(folder, { recursive: true });
});

/** What a format does not have, in the words that a person gets. */
const REFUSED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  onnx: {},
  tfjs: {
    "tiny-imagenet": '"layers[1].type" expected a layer that TensorFlow.js has, got groupNorm',
    "resnet-8": '"layers[1].type" expected a layer that TensorFlow.js has, got groupNorm',
    "resnet-20": '"layers[1].type" expected a layer that TensorFlow.js has, got groupNorm',
    characters: '"layers[1].type" expected a layer that TensorFlow.js has, got positionEmbedding',
    groupNorm: '"layers[1].type" expected a layer that TensorFlow.js has, got groupNorm',
    conv1dTranspose:
      '"layers[0].type" expected a layer that TensorFlow.js has, got conv1dTranspose',
    positionEmbedding:
      '"layers[0].type" expected a layer that TensorFlow.js has, got positionEmbedding',
    gru: '"layers[0].gru.resetAfter" expected false, as TensorFlow.js has it, got true',
    multiHeadAttention:
      '"layers[1].type" expected a layer that TensorFlow.js has, got multiHeadAttention',
    ...Object.fromEntries(
      ["hardSigmoid", "hardSwish", "gelu"].map((name) => [
        name,
        `"layers[0].dense.activation" expected relu, relu6, tanh, sigmoid, elu, hardSigmoid5, silu, got ${name}`,
      ]),
    ),
    "backwards, all steps":
      '"layers[0].lstm.reverse" expected false where all steps are returned, got true',
    "zeros around a sequence":
      '"layers[0].conv1d.padding" expected "valid" or "same", which TensorFlow.js knows of sequences, got [[0,0],[2,0]]',
    "a longer sequence": '"layers[0].upsample.input" expected an image, got [7,4]',
    "narrow heads":
      '"layers[0].type" expected a layer that TensorFlow.js has, got multiHeadAttention',
  },
  keras: {
    characters: '"layers[1].type" expected a layer that Keras has, got positionEmbedding',
    positionEmbedding: '"layers[0].type" expected a layer that Keras has, got positionEmbedding',
    hardSigmoid5:
      '"layers[0].dense.activation" expected relu, relu6, tanh, sigmoid, elu, hardSigmoid, hardSwish, silu, gelu, got hardSigmoid5',
    "backwards, all steps":
      '"layers[0].lstm.reverse" expected false where all steps are returned, got true',
  },
  torch: {
    "reset before": '"layers[0].gru.resetAfter" expected true, as PyTorch has it, got false',
    "relu inside": '"layers[0].lstm.activation" expected tanh, as PyTorch has it, got relu',
    "narrow heads":
      '"layers[0].multiHeadAttention.keySize" expected 4 / 2, as PyTorch has it, got 3',
  },
};

/** Networks by name: the presets, and those that have every layer and activation. */
const DESCRIPTIONS = {
  ...Object.fromEntries(PRESET_NAMES.map((name) => [name, preset(name)])),
  ...Object.fromEntries(
    Object.entries({ ...BY_LAYER, ...BY_FORM }).map(([name, json]) => [
      name,
      parseDescription(json),
    ]),
  ),
};

interface Case {
  readonly name: string;
  readonly model: Model;
  readonly shape: readonly number[];
  readonly x: Float32Array;
}

const cases = Object.entries(DESCRIPTIONS).map(([name, description]): Case => {
  const { loss, input, classes } = networkOf(description);
  const tokens = description.layers[0].type === "embedding";
  const regression = loss.task === "numbers";
  const model: Model = {
    ...initialModel({ description, classes: [] }, name),
    ...(!tokens && { normalisation: { scale: 2, mean: [0.1], deviation: [0.5] } }),
    ...(regression && {
      targets: {
        mean: Array.from({ length: classes }, (_, i) => 3 + i),
        deviation: Array.from({ length: classes }, (_, i) => 2 - i / classes),
      },
    }),
  };
  // Biases and shifts that are 0 would hide where they are put.
  model.weights.forEach((value, i, all) => (all[i] = value + 0.01 * Math.sin(i)));
  const x = numbers(2 * elements(input)).map((value, i) => (tokens ? i % 9 : value));
  return { name, model, shape: [2, ...input], x };
});

/** What our plan gives, in the units of the target: those of the input, where that is the target. */
async function outputs(model: Model, inputs: Float32Array): Promise<Float32Array> {
  const { description, targets, normalisation } = model;
  const own = networkOf(description).loss.task === "input";
  // Such a network is asked for its output, not for the error of it.
  const plain = own ? { ...description, loss: { type: "meanSquaredError" as const } } : description;
  const y = await trainer.predict({ ...weightedOf({ ...model, description: plain }), inputs });
  const scale = (own && normalisation?.scale) || 1;
  const { mean, deviation } = (own ? normalisation : targets) ?? { mean: [0], deviation: [1] };
  return y.map(
    (value, i) => scale * (value * deviation[i % deviation.length] + mean[i % mean.length]),
  );
}

for (const [format, write] of Object.entries(WRITERS))
  for (const one of cases) {
    const refusal = REFUSED[format][one.name];
    if (refusal !== undefined)
      test(`${format}, ${one.name}: refused in a sentence that names the layer`, () => {
        assert.throws(() => write(one.model), { code: "import", message: refusal });
      });
    else {
      test(`${format}, ${one.name}: what is written is read to equal outputs`, async () => {
        const imported = await write(one.model).read();
        const { loss } = one.model.description;
        assert.equal(
          imported.description.loss?.type ?? "softmaxCrossEntropy",
          loss?.type ?? "softmaxCrossEntropy",
        );
        assertNear(await outputs(modelOf(imported), one.x), await outputs(one.model, one.x));
      });
      if (format === "onnx" || format === "tfjs")
        test(`${format}, ${one.name}: its own runtime gives the same outputs`, async () => {
          assertNear(
            await write(one.model).run!(one.x, one.shape),
            await outputs(one.model, one.x),
          );
        });
    }
  }

for (const [format, statement] of [
  ["torch", "import torch; torch.zeros(1).numpy()"],
  ["keras", "import keras, numpy"],
]) {
  const python = pythonThatRuns(statement);
  const skip =
    python === undefined && `no ${format} here: FEDFLAT_PYTHON may name a Python that has it`;
  test(
    `${format} in Python gives the same outputs of what is written for it`,
    { skip },
    async () => {
      const written = cases.filter(({ name }) => !(name in REFUSED[format]));
      const folders = written.map(({ name, model, x, shape }) => {
        const own = join(folder, format, name);
        WRITERS[format](model).save(own);
        saveInputs(own, x, shape);
        return own;
      });
      runPython(python!, "run-written.py", format, ...folders);
      for (const [i, { name, model, x }] of written.entries())
        assertNear(savedOutputs(folders[i]), await outputs(model, x), 1e-4, name);
    },
  );
}
