import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import "@tensorflow/tfjs-backend-cpu";
import * as tf from "@tensorflow/tfjs-core";
import * as layers from "@tensorflow/tfjs-layers";
import * as ort from "onnxruntime-web";
import type { Imported } from "../../../cli/interchange/imported.js";
import { writeKeras } from "../../../cli/interchange/keras-writer.js";
import { writeOnnx } from "../../../cli/interchange/onnx-writer.js";
import { readAny } from "../../../cli/interchange/read.js";
import { writeTfjs, type TfjsFiles } from "../../../cli/interchange/tfjs-writer.js";
import { writeTorch } from "../../../cli/interchange/torch-writer.js";
import type { Model } from "../../../runtime/models/model.js";

const nothing = () => Promise.reject(new Error("no files beside"));

/** An export: read back by us, and run by a program that is not ours. */
export interface Written {
  read(): Promise<Imported>;
  /** The outputs of the format's own runtime in JavaScript, where it has one. */
  run?(x: Float32Array, shape: readonly number[]): Promise<ArrayLike<number>>;
  /** Writes the files, for programs in Python. */
  save(folder: string): void;
}

/** Every format that `fedflat export` writes. */
export const WRITERS: Readonly<Record<string, (model: Model) => Written>> = {
  onnx(model) {
    const bytes = writeOnnx(model);
    return {
      read: () => readAny(bytes, { beside: nothing }),
      async run(x, shape) {
        ort.env.wasm.numThreads = 1;
        const session = await ort.InferenceSession.create(bytes);
        const [output] = session.outputNames;
        const given = await session.run({ input: new ort.Tensor("float32", x, shape) });
        return given[output].data as Float32Array;
      },
      save: (folder) => put(folder, { "model.onnx": bytes }),
    };
  },
  tfjs(model) {
    const files = writeTfjs(model);
    return {
      read: () =>
        readAny(Buffer.from(files["model.json"]), {
          beside: () => Promise.resolve(files["weights.bin"]),
        }),
      async run(x, shape) {
        const loaded = await loadTfjs(files);
        return (loaded.predict(tf.tensor(x, [...shape])) as tf.Tensor).data();
      },
      save: (folder) => put(folder, files),
    };
  },
  keras(model) {
    const bytes = writeKeras(model);
    return {
      read: () => readAny(bytes, { beside: nothing }),
      save: (folder) => put(folder, { "model.keras": bytes }),
    };
  },
  torch(model) {
    const files = writeTorch(model);
    const network = JSON.parse(files["description.json"]) as unknown;
    return {
      read: () => readAny(files["model.safetensors"], { network, beside: nothing }),
      save: (folder) => put(folder, files),
    };
  },
};

function loadTfjs(files: TfjsFiles): Promise<layers.LayersModel> {
  const { modelTopology, weightsManifest } = JSON.parse(files["model.json"]) as {
    modelTopology: object;
    weightsManifest: { weights: [] }[];
  };
  const weightData = Uint8Array.from(files["weights.bin"]).buffer;
  const [{ weights: weightSpecs }] = weightsManifest;
  return layers.loadLayersModel({
    load: () => Promise.resolve({ modelTopology, weightSpecs, weightData }),
  });
}

function put(folder: string, files: object): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(folder, name), content as string | Uint8Array);
}

/** Writes inputs for `run-written.py`. */
export function saveInputs(folder: string, x: Float32Array, shape: readonly number[]): void {
  put(folder, { "x.bin": new Uint8Array(x.buffer), "shape.json": JSON.stringify(shape) });
}

export function savedOutputs(folder: string): Float32Array {
  return new Float32Array(Uint8Array.from(readFileSync(join(folder, "y.bin"))).buffer);
}
