import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { permute } from "../../../cli/interchange/imported.js";
import { readOnnx } from "../../../cli/interchange/onnx.js";
import { readOnnxFile, readTensor, type OnnxTensor } from "../../../cli/interchange/onnx-file.js";
import { assertNear, close, MODELS, outputsOf } from "./running.js";

after(close);

const root = join(MODELS, "onnx");
const read = (name: string, file: string) => readFileSync(join(root, name, file));

/** The model of one of ONNX' own tests; inputs but the first are weights. */
function opened(name: string) {
  const bytes = read(name, "model.onnx");
  const { inputs, tensors } = readOnnxFile(bytes);
  const given = new Map<string, OnnxTensor>();
  inputs
    .filter((input) => !tensors.has(input.name))
    .forEach((input, i) => {
      if (i > 0) given.set(input.name, readTensor(read(name, `input_${i}.pb`)));
    });
  return readOnnx(bytes, {}, given);
}

/** Channels to the end or to the front, example by example. */
const channels = ({ shape, data }: OnnxTensor, to: "last" | "first"): Float32Array => {
  const numbers = Float32Array.from([...data], Number);
  const axes = shape.map((_, i) => i);
  const order =
    to === "last" ? [0, ...axes.slice(2), 1] : [0, axes.length - 1, ...axes.slice(1, -1)];
  return shape.length < 3 ? numbers : permute({ shape, data: numbers }, order).data;
};

// Why the others cannot be read, in the words that a person gets.
const REFUSED: Readonly<Record<string, RegExp>> = {
  test_Conv2d_groups: /Conv.*group" expected 1 or 4, its input's channels, got 2$/,
  test_ConvTranspose2d: /ConvTranspose.*pads" .*got 1, 1, 1, 1 with 1, 1/,
  test_ELU: /Elu.*alpha" expected 1, got 2$/,
  test_clip_example: /Clip.*min, max" expected 0 and 6, or 0 alone, got -1 and 1$/,
  test_concat_3d_axis_1: /Concat.*input 1" expected a tensor that the network computes/,
  test_convtranspose_pads: /ConvTranspose.*pads" /,
  test_gemm_all_attributes: /Gemm.*alpha" expected 1, got 0.25$/,
  test_hardsigmoid_example: /HardSigmoid.*alpha" expected 0.2 or 1\/6, got 0.5$/,
  test_lstm_with_peepholes: /LSTM.*P" expected no peepholes, got some$/,
  test_operator_addmm: /Gemm.*input 2" expected numbers that stand in the file/,
  test_operator_flatten: /expected a dense layer behind a flattened image/,
};

// Values in the order of our axes: those that ONNX does not have with the channels first.
const AS_THEY_LIE = /gru|lstm|Linear|gemm|Embedding|hardsig|hardswish|LeakyReLU|layer_norm|softmax/;

for (const name of readdirSync(root).filter((entry) => entry.startsWith("test_")))
  test(`ONNX' own ${name}: ${name in REFUSED ? "refused in a sentence" : "its outputs"}`, async () => {
    const refusal = REFUSED[name];
    if (refusal !== undefined) {
      assert.throws(() => opened(name), { code: "import", message: refusal });
      return;
    }
    const imported = opened(name);
    const [x, y] = ["input_0.pb", "output_0.pb"].map((file) => readTensor(read(name, file)));
    const plain = AS_THEY_LIE.test(name);
    const inputs = plain ? Float32Array.from([...x.data], Number) : channels(x, "last");
    let outputs = await outputsOf(imported, inputs);
    if (imported.description.loss?.type === "softmaxCrossEntropy" && name.includes("softmax"))
      outputs = softmaxed(outputs, y.shape[y.shape.length - 1]);
    if (imported.description.loss?.type === "sigmoidCrossEntropy")
      outputs = outputs.map((z) => 1 / (1 + Math.exp(-z)));
    const { shape } = y;
    const last = { name: "", shape: [shape[0], ...shape.slice(2), shape[1]], data: outputs };
    assertNear(
      plain || shape.length < 3 ? outputs : channels(last, "first"),
      y.data as Float32Array,
    );
  });

function softmaxed(z: Float32Array, width: number): Float32Array {
  return z.map((value, i) => {
    const row = z.subarray(i - (i % width), i - (i % width) + width);
    return Math.exp(value) / row.reduce((sum, one) => sum + Math.exp(one), 0);
  });
}
