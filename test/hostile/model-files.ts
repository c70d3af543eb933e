import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { modelOf } from "../../cli/interchange/imported.js";
import { readKerasH5 } from "../../cli/interchange/keras-files.js";
import { readKeras, variablesByName } from "../../cli/interchange/keras.js";
import { readOnnx } from "../../cli/interchange/onnx.js";
import { writeHdf5 } from "../../cli/interchange/hdf5-writer.js";
import { writeKeras } from "../../cli/interchange/keras-writer.js";
import { guarded, readAny } from "../../cli/interchange/read.js";
import { writeTfjs } from "../../cli/interchange/tfjs-writer.js";
import { writeZip } from "../../cli/interchange/zip-writer.js";
import { initialModel } from "../../runtime/models/initial.js";
import { parseCard } from "../../runtime/models/model.js";
import { readTflite } from "../../cli/interchange/tflite.js";
import { readStateDict } from "../../cli/interchange/torch.js";
import { writeSafetensors } from "../../runtime/tensors/safetensors.js";
import type { Decoder } from "./decoders.js";

const MODELS = fileURLToPath(new URL("../../../test/data/models/", import.meta.url));
const file = (...path: string[]): Uint8Array => readFileSync(join(MODELS, ...path));
const beside = () => Promise.reject(new Error("no files beside"));

const topology = (): Record<string, unknown> => {
  const json = JSON.parse(new TextDecoder().decode(file("tfjs-layers", "model.json"))) as {
    modelTopology: Record<string, unknown>;
  };
  return json.modelTopology;
};

const numbers = (...shape: number[]) => ({
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b)).fill(0.5),
});

const card = parseCard({
  description: { input: [3], layers: [{ type: "dense", units: 2 }] },
  classes: ["a", "b"],
});
const small = initialModel(card, "fuzz");
const archive = writeKeras(small);
const tfjs = writeTfjs(small);
const weights = new Map([
  ["layers/dense/vars/0", numbers(3, 2)],
  ["layers/dense/vars/1", numbers(2)],
]);
const network = {
  "config.json": Buffer.from(
    JSON.stringify({
      class_name: "Sequential",
      config: {
        layers: [{ class_name: "Dense", config: { units: 2, batch_input_shape: [null, 3] } }],
      },
    }),
  ),
};

/** Whatever is no model file at all is refused, too. */
const modelIn = async (bytes: Uint8Array, files: () => Promise<Uint8Array> = beside) =>
  modelOf(await readAny(bytes, { beside: files }));

/** Everything that reads another program's model. */
export const MODEL_READERS: readonly Decoder[] = [
  {
    name: "ONNX models",
    corpus: [
      ...["test_Linear", "test_Conv2d_padding", "test_BatchNorm2d_eval", "test_MaxPool2d"],
      ...["test_Conv2d_depthwise", "test_Embedding", "test_Conv1d_pad2"],
    ].map((name) => file("onnx", name, "model.onnx")),
    read: (bytes) => guarded("ONNX", () => modelOf(readOnnx(bytes))),
  },
  {
    name: "TFLite models",
    corpus: [file("tflite", "hello_world_float.tflite")],
    read: (bytes) => guarded("TFLite", () => modelOf(readTflite(bytes))),
  },
  {
    name: "Keras configurations",
    corpus: [new TextEncoder().encode(JSON.stringify(topology()))],
    read(bytes) {
      let json: unknown;
      try {
        json = JSON.parse(new TextDecoder().decode(bytes));
      } catch {
        return;
      }
      const variables = variablesByName(
        new Map([
          ["embedding_Embedding2/embeddings", numbers(100, 20)],
          ["gru_GRU1/kernel", numbers(20, 12)],
          ["gru_GRU1/recurrent_kernel", numbers(4, 12)],
          ["gru_GRU1/bias", numbers(12)],
        ]),
      );
      guarded("Keras", () => modelOf(readKeras(json, variables, { version: "2" }, {})));
    },
  },
  {
    name: "Keras .h5 models",
    corpus: [file("keras", "two-dense.h5")],
    read: (bytes) => guarded("Keras", () => modelOf(readKerasH5(bytes, { beside }))),
  },
  {
    name: "Keras archives",
    corpus: [archive],
    read: (bytes) => modelIn(bytes),
  },
  {
    name: "Keras weights",
    corpus: [writeHdf5(weights)],
    read: (bytes) => modelIn(writeZip({ ...network, "model.weights.h5": bytes })),
  },
  {
    name: "TensorFlow.js models",
    corpus: [Buffer.from(tfjs["model.json"])],
    read: (bytes) => modelIn(bytes, () => Promise.resolve(tfjs["weights.bin"])),
  },
  {
    name: "PyTorch state_dicts",
    corpus: [
      writeSafetensors([
        { name: "0.weight", shape: [2, 3], data: new Float32Array(6) },
        { name: "0.bias", shape: [2], data: new Float32Array(2) },
      ]),
    ],
    read: (bytes) =>
      guarded("PyTorch", () =>
        modelOf(
          readStateDict(bytes, {
            beside,
            network: { input: [3], layers: [{ type: "dense", units: 2 }] },
          }),
        ),
      ),
  },
];
