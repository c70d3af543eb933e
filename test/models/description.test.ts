import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { ModelError } from "../../runtime/errors.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { loadModel, writeModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { preset, PRESET_NAMES } from "../../runtime/models/presets.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { readSafetensors } from "../../runtime/tensors/safetensors.js";
import { elements } from "../../runtime/tensors/shape.js";

const vectors = new URL("../../../test/vectors/", import.meta.url);

const network = (description: unknown) => networkOf(parseDescription(description));

test("the paper's networks have the paper's numbers of parameters", () => {
  const size = (name: string) => networkOf(preset(name)).layout.size;
  assert.equal(size("cifar"), 815_332);
  assert.equal(size("tiny-imagenet"), 2_447_688);
  assert.equal(networkOf(preset("cifar", 10)).classes, 10);
});

test("the networks of other papers and benchmarks have their numbers of parameters", () => {
  const expected: Record<string, number> = {
    "resnet-8": 78_378,
    "resnet-20": 273_258,
    "ds-cnn": 22_604,
    mobilenet: 210_850,
    autoencoder: 265_864,
    forecast: 5_409,
    shakespeare: 817_872,
    sent140: 241_002,
    characters: 64_528,
    femnist: 6_603_710,
    "femnist-128": 461_630,
  };
  for (const [name, size] of Object.entries(expected))
    assert.equal(networkOf(preset(name)).layout.size, size, name);
  const forecast = networkOf(preset("forecast", 3, [20, 4]));
  assert.deepEqual([forecast.input, forecast.output], [[20, 4], [3]]);
  for (const input of [[50], [16, 3], [8, 8, 1]])
    assert.deepEqual(networkOf(preset("autoencoder", undefined, input)).output, [elements(input)]);
});

test("every preset is a description that passes its own check", () => {
  for (const name of PRESET_NAMES)
    assert.deepEqual(parseDescription(JSON.parse(JSON.stringify(preset(name)))), preset(name));
  assert.throws(() => preset("constructor"), { code: "unknown-preset" });
});

test("parameters have the names, order and shapes that another program gave them", () => {
  for (const file of readdirSync(vectors)) {
    if (!/^objective-.*json$/.test(file)) continue;
    const { model, parameters } = JSON.parse(readFileSync(new URL(file, vectors), "utf8"));
    const { layout } = network(model);
    assert.deepEqual(
      layout.parameters.map(({ name }) => name),
      parameters,
    );
    const { tensors } = readSafetensors(
      readFileSync(new URL(file.replace("json", "safetensors"), vectors)),
    );
    for (const { name, shape } of layout.parameters)
      assert.deepEqual(tensors.get(`param.${name}`)?.shape, shape);
  }
});

test("every layer kind infers its shape", () => {
  const outputs = network({
    input: [9, 11, 2],
    layers: [
      { type: "conv2d", filters: 3, kernelSize: [3, 2], strides: [2, 1] },
      {
        type: "depthwiseConv2d",
        kernelSize: 3,
        multiplier: 2,
        padding: "same",
      },
      { type: "groupNorm", groups: 3 },
      { type: "relu" },
      { type: "maxPool", size: 2, padding: "same" },
      { type: "avgPool", size: 2, strides: 1 },
      { type: "dropout", rate: 0.5 },
      { type: "globalAvgPool" },
      { type: "dense", units: 4 },
    ],
  }).layers.map(({ index, type, output, activation }) => [
    index,
    type,
    output,
    activation === "relu",
  ]);
  assert.deepEqual(outputs, [
    [0, "conv2d", [4, 10, 3], false],
    [1, "depthwiseConv2d", [4, 10, 6], false],
    [2, "groupNorm", [4, 10, 6], true],
    [4, "maxPool", [2, 5, 6], false],
    [5, "avgPool", [1, 4, 6], false],
    [6, "dropout", [1, 4, 6], false],
    [7, "globalAvgPool", [6], false],
    [8, "dense", [4], false],
  ]);
  const sequence = network({
    input: [20, 3],
    layers: [
      { type: "relu" },
      {
        type: "conv1d",
        filters: 4,
        kernelSize: 5,
        strides: 2,
        padding: "same",
      },
      { type: "maxPool", size: 3 },
      { type: "flatten" },
      { type: "dense", units: 2 },
    ],
  }).layers.map(({ output }) => output);
  assert.deepEqual(sequence, [[20, 3], [10, 4], [3, 4], [12], [2]]);
});

const dense = { type: "dense", units: 3 };
const image = (...layers: unknown[]) => ({
  input: [8, 8, 2],
  layers: [...layers, { type: "flatten" }, dense],
});
const conv = (fields: object) => ({
  type: "conv2d",
  filters: 4,
  kernelSize: 3,
  ...fields,
});

const BAD: readonly (readonly [string, unknown, string])[] = [
  ["no object", 3, `"model" expected an object with the fields input and layers, got 3`],
  [
    "no input",
    { layers: [dense] },
    `"model.input" expected one to three positive integers, got nothing`,
  ],
  [
    "bad input",
    { input: [3, 0], layers: [dense] },
    `"model.input[1]" expected a positive integer, got 0`,
  ],
  [
    "rank 4",
    { input: [3, 3, 3, 3], layers: [dense] },
    `"model.input" expected one to three positive integers, got [3,3,3,3]`,
  ],
  ["no layers", { input: [3], layers: [] }, `"model.layers" expected at least one layer, got []`],
  [
    "unknown field of the model",
    { input: [3], layers: [dense], optimizer: 1 },
    `"model.optimizer" expected one of the fields input, loss, layers, got "optimizer"`,
  ],
  [
    "unknown kind",
    image({ type: "capsule" }),
    `"layers[0].type" expected one of dense, conv1d, conv2d, depthwiseConv2d, maxPool, avgPool, globalAvgPool, flatten, groupNorm, relu, dropout, activation, conv1dTranspose, conv2dTranspose, add, multiply, concat, upsample, repeat, reshape, globalMaxPool, embedding, positionEmbedding, layerNorm, batchNorm, gru, lstm, multiHeadAttention, got "capsule"`,
  ],
  [
    "kind of the prototype",
    image({ type: "constructor" }),
    `"layers[0].type" expected one of dense, conv1d, conv2d, depthwiseConv2d, maxPool, avgPool, globalAvgPool, flatten, groupNorm, relu, dropout, activation, conv1dTranspose, conv2dTranspose, add, multiply, concat, upsample, repeat, reshape, globalMaxPool, embedding, positionEmbedding, layerNorm, batchNorm, gru, lstm, multiHeadAttention, got "constructor"`,
  ],
  [
    "no kind",
    image({}),
    `"layers[0].type" expected one of dense, conv1d, conv2d, depthwiseConv2d, maxPool, avgPool, globalAvgPool, flatten, groupNorm, relu, dropout, activation, conv1dTranspose, conv2dTranspose, add, multiply, concat, upsample, repeat, reshape, globalMaxPool, embedding, positionEmbedding, layerNorm, batchNorm, gru, lstm, multiHeadAttention, got nothing`,
  ],
  [
    "a layer that is null",
    image(null),
    `"layers[0]" expected an object with the field type, got null`,
  ],
  [
    "a text for a number",
    image(conv({}), conv({ filters: "x" })),
    `"layers[1].conv2d.filters" expected a positive integer, got "x"`,
  ],
  [
    "a fraction",
    image(conv({ filters: 1.5 })),
    `"layers[0].conv2d.filters" expected a positive integer, got 1.5`,
  ],
  [
    "a missing field",
    image({ type: "conv2d", filters: 2 }),
    `"layers[0].conv2d.kernelSize" expected a positive integer or a pair of them, got nothing`,
  ],
  [
    "a misspelt field",
    image(conv({ stride: 2 })),
    `"layers[0].conv2d.stride" expected one of the fields type, filters, kernelSize, strides, padding, activation, name, inputs, tap, frozen, personal, got "stride"`,
  ],
  [
    "a pair of three",
    image(conv({ kernelSize: [1, 2, 3] })),
    `"layers[0].conv2d.kernelSize" expected a positive integer or a pair of them, got [1,2,3]`,
  ],
  [
    "an unknown padding",
    image(conv({ padding: "full" })),
    `"layers[0].conv2d.padding" expected "valid", "same" or [[top, bottom], [left, right]], got "full"`,
  ],
  [
    "an unknown activation",
    image(conv({ activation: "softplus" })),
    `"layers[0].conv2d.activation" expected one of relu, relu6, leakyRelu, tanh, sigmoid, elu, hardSigmoid, hardSigmoid5, hardSwish, silu, gelu, got "softplus"`,
  ],
  [
    "a dropout of all",
    image({ type: "dropout", rate: 1 }),
    `"layers[0].dropout.rate" expected a number from 0 to below 1, got 1`,
  ],
  [
    "a kernel larger than its input",
    image(conv({ kernelSize: 9 })),
    `"layers[0].conv2d.kernelSize" expected at most its input's 8 x 8, got 9`,
  ],
  [
    "a pool larger than its input",
    image({ type: "maxPool", size: 9 }),
    `"layers[0].maxPool.size" expected at most its input's 8 x 8, got 9`,
  ],
  [
    "groups that do not divide",
    image(conv({ filters: 6 }), { type: "groupNorm", groups: 4 }),
    `"layers[1].groupNorm.groups" expected a divisor of its input's 6 channels, got 4`,
  ],
  [
    "dense on an image",
    { input: [8, 8, 2], layers: [conv({}), dense] },
    `"layers[1].dense.input" expected [features] or [length, channels] (put a flatten layer before it), got [6, 6, 4]`,
  ],
  [
    "a name twice",
    image(conv({ name: "a" }), conv({ name: "a" })),
    `"layers[1].conv2d.name" expected a name of its own, got "a"`,
  ],
  [
    "a name of no layer before",
    image(conv({ inputs: ["b"] }), conv({ name: "b" })),
    `"layers[0].conv2d.inputs" expected names of layers before it, or "input", got "b"`,
  ],
  [
    "an output that nobody reads",
    image(conv({}), conv({ inputs: ["input"] })),
    `"layers[0].conv2d" expected a layer that reads it, got none`,
  ],
  [
    "a sum of one",
    image({ type: "add" }),
    `"layers[0].add.inputs" expected two names or more, got 1`,
  ],
  [
    "a sum of unlike shapes",
    image(conv({ name: "a" }), { type: "add", inputs: ["a", "input"] }),
    `"layers[1].add.inputs" expected shapes [6, 6, 4], got [8, 8, 2]`,
  ],
  [
    "an unknown loss",
    { ...image(conv({})), loss: { type: "hinge" } },
    `"loss.type" expected one of softmaxCrossEntropy, sigmoidCrossEntropy, meanSquaredError, meanAbsoluteError, huber, got "hinge"`,
  ],
  [
    "weights of other classes",
    { ...image(conv({})), loss: { type: "softmaxCrossEntropy", classWeights: [1, 2] } },
    `"loss.classWeights" expected 3 numbers, one per class, got 2`,
  ],
  [
    "an input to give out that does not fit",
    { ...image(conv({})), loss: { type: "huber", target: "input" } },
    `"loss.target" expected an output of the input's 128 elements, got 3`,
  ],
  [
    "conv1d on an image",
    image({ type: "conv1d", filters: 1, kernelSize: 1 }),
    `"layers[0].conv1d.input" expected [length, channels], got [8, 8, 2]`,
  ],
  [
    "conv2d on features",
    { input: [8], layers: [conv({}), dense] },
    `"layers[0].conv2d.input" expected [height, width, channels], got [8]`,
  ],
  [
    "a pair for a sequence",
    {
      input: [8, 2],
      layers: [{ type: "maxPool", size: [2, 2] }, { type: "flatten" }, dense],
    },
    `"layers[0].maxPool.size" expected one number for a sequence, got [2,2]`,
  ],
  [
    "no logits",
    { input: [3], layers: [dense, { type: "relu" }] },
    `"layers[1]" expected a dense layer without activation, whose outputs are the logits, got relu`,
  ],
  [
    "logits of a convolution",
    { input: [8, 8, 2], layers: [conv({})] },
    `"layers[0]" expected a dense layer without activation, whose outputs are the logits, got conv2d`,
  ],
  [
    "too many parameters",
    { input: [1e6], layers: [{ type: "dense", units: 1e6 }] },
    `"layers" expected at most 268435456 parameters, got 1000001000000`,
  ],
];

for (const [name, description, message] of BAD)
  test(`a bad description is named: ${name}`, () => {
    assert.throws(
      () => network(description),
      (error) =>
        error instanceof ModelError &&
        error.code === "description" &&
        assert.equal(error.message, message) === undefined,
    );
  });

test("initial weights repeat with their seed, keep to PyTorch's bounds, and begin norms at 1 and 0", () => {
  const tiny = networkOf(preset("tiny-imagenet"));
  const weights = initialWeights(tiny, "a");
  assert.deepEqual(initialWeights(tiny, "a"), weights);
  assert.notDeepEqual(initialWeights(tiny, "b"), weights);
  for (const layer of tiny.layers)
    layer.places.forEach((place, i) => {
      const values = parameterView(weights, place);
      const { initial } = layer.parameters[i];
      if ("constant" in initial)
        return assert.ok(values.every((value) => value === initial.constant));
      assert.ok("fanIn" in initial);
      const bound = 1 / Math.sqrt(initial.fanIn);
      assert.ok(values.every((value) => Math.abs(value) <= bound));
      if (values.length < 1000) return;
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
      assert.ok(Math.abs(mean) < bound * 0.05, `${place.name} mean ${mean}`);
      assert.ok(Math.abs(variance / (bound ** 2 / 3) - 1) < 0.05);
    });
});

test("a model file brings back description, weights, normalisation and class names", () => {
  const description = preset("sensor");
  const { layout, ...made } = networkOf(description);
  const model = {
    description,
    layout,
    weights: initialWeights({ layout, ...made }, "seed"),
    normalisation: { scale: 1, mean: [0.5], deviation: [2] },
    classes: ["walk", "up", "down", "sit", "stand", "lie"],
  };
  assert.deepEqual(loadModel(writeModel(model)), model);
  const { normalisation: _, ...bare } = model;
  assert.equal(loadModel(writeModel(bare)).normalisation, undefined);
});

test("a model file that is none, or does not fit itself, is refused", () => {
  const description = preset("sensor");
  const { layout } = networkOf(description);
  const weights = new Float32Array(layout.size);
  const classes = ["a", "b", "c", "d", "e", "f"];
  const model = { description, layout, weights, classes };
  const refused = (changed: object, code: string, message: RegExp) =>
    assert.throws(() => loadModel(writeModel({ ...model, ...changed })), {
      name: "ModelError",
      code,
      message,
    });
  refused({ classes: ["a"] }, "model-file", /expected 6 names/);
  refused(
    { normalisation: { scale: 1, mean: [1, 2], deviation: [1] } },
    "model-file",
    /mean" expected one number or one for each of 9 channels, got 2/,
  );
  refused(
    { normalisation: { scale: 0, mean: [1], deviation: [1] } },
    "description",
    /"model.normalisation.scale" expected a positive number, got 0/,
  );
  refused({ description: preset("cifar", 6) }, "layout", /"0.kernel"/);
  refused({ description: { input: [1] } }, "description", /model.layers/);
  assert.throws(() => loadModel(new Uint8Array(3)), { code: "safetensors" });
});
