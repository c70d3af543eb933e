import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import "@tensorflow/tfjs-backend-cpu";
import * as tf from "@tensorflow/tfjs-core";
import * as layers from "@tensorflow/tfjs-layers";
import { filesBeside, readAny } from "../../../cli/interchange/read.js";
import { readManifest } from "../../../cli/interchange/keras-files.js";
import { repository } from "../command.js";
import { assertNear, close, MODELS, numbers, outputsOf } from "./running.js";
import { writeZip } from "../../../cli/interchange/zip-writer.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-keras-"));
after(() => {
  close();
  rmSync(folder, { recursive: true });
});

const opened = (path: string) => readAny(readFileSync(path), { beside: filesBeside(path) });

test("a layers-model that TensorFlow.js ships gives what its own test expects", async () => {
  const imported = await opened(join(MODELS, "tfjs-layers", "model.json"));
  const tokens = Float32Array.of(86, 11, 62, 40, 36, 75, 82, 94, 67, 75);
  assertNear(
    await outputsOf(imported, tokens),
    [-0.003578941337764263, 0.0028922036290168762, -0.002957976423203945, 0.00955402385443449],
    1e-7,
  );
});

test("a quantised manifest: each tensor scaled from its shard", async () => {
  const path = join(MODELS, "tfjs-quantised", "face_landmark_68_tiny_model-weights_manifest.json");
  const manifest = JSON.parse(readFileSync(path, "utf8")) as unknown;
  const shard = readFileSync(join(MODELS, "tfjs-quantised", "face_landmark_68_tiny_model.bin"));
  const tensors = await readManifest(manifest, async () => shard);
  const first = tensors.get("dense0/conv0/filters");
  assert.deepEqual(first?.shape, [3, 3, 3, 32]);
  // The first byte of the shard, by hand: q scale + min.
  assertNear([first.data[0]], [shard[0] * 0.008194216092427571 - 0.9423348506291708], 1e-6);
  const count = [...tensors.values()].reduce((sum, { data }) => sum + data.length, 0);
  assert.equal(count, shard.length);
});

for (const name of ["images", "steps"])
  for (const format of ["keras", "h5"])
    test(`what Keras 3 itself wrote gives its outputs: ${name}.${format}`, async () => {
      const { x, y } = JSON.parse(readFileSync(join(MODELS, "keras", `${name}.json`), "utf8")) as {
        x: number[];
        y: number[];
      };
      const imported = await opened(join(MODELS, "keras", `${name}.${format}`));
      assertNear(await outputsOf(imported, Float32Array.from(x)), y);
    });

/** Networks in TensorFlow.js, which also computes what is expected. */
const NETWORKS: Readonly<Record<string, () => layers.LayersModel>> = {
  "a convolutional network with batch normalisation, before and behind": () => {
    const model = layers.sequential();
    model.add(
      layers.layers.conv2d({
        inputShape: [9, 8, 3],
        filters: 4,
        kernelSize: 3,
        padding: "same",
        useBias: false,
      }),
    );
    model.add(layers.layers.batchNormalization({ movingVarianceInitializer: "ones" }));
    model.add(layers.layers.reLU({ maxValue: 6 }));
    model.add(
      layers.layers.zeroPadding2d({
        padding: [
          [0, 1],
          [1, 0],
        ],
      }),
    );
    model.add(layers.layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, strides: 2 }));
    model.add(layers.layers.maxPooling2d({ poolSize: 2 }));
    model.add(layers.layers.batchNormalization());
    model.add(layers.layers.flatten());
    model.add(layers.layers.dense({ units: 5, activation: "softmax" }));
    return model;
  },
  "a residual network": () => {
    const input = layers.input({ shape: [6, 6, 4] });
    const stem = layers.layers
      .conv2d({ filters: 4, kernelSize: 1, activation: "relu", name: "stem" })
      .apply(input);
    const body = layers.layers
      .separableConv2d({ filters: 4, kernelSize: 3, padding: "same" })
      .apply(stem);
    const sum = layers.layers
      .add()
      .apply([stem as layers.SymbolicTensor, body as layers.SymbolicTensor]);
    const both = layers.layers
      .concatenate()
      .apply([sum as layers.SymbolicTensor, stem as layers.SymbolicTensor]);
    const pooled = layers.layers.globalAveragePooling2d({}).apply(both);
    const output = layers.layers.dense({ units: 1, activation: "sigmoid" }).apply(pooled);
    return layers.model({ inputs: input, outputs: output as layers.SymbolicTensor });
  },
  "recurrent layers in both directions": () => {
    const model = layers.sequential();
    model.add(
      layers.layers.conv1d({
        inputShape: [7, 3],
        filters: 4,
        kernelSize: 3,
        padding: "same",
        activation: "tanh",
      }),
    );
    model.add(
      layers.layers.bidirectional({
        layer: layers.layers.lstm({
          units: 3,
          recurrentInitializer: "zeros",
          returnSequences: true,
        }),
        mergeMode: "concat",
      }),
    );
    model.add(
      layers.layers.timeDistributed({
        layer: layers.layers.dense({ units: 4, activation: "elu" }),
      }),
    );
    model.add(layers.layers.layerNormalization());
    model.add(
      layers.layers.gru({
        units: 5,
        recurrentInitializer: "zeros",
        recurrentActivation: "hardSigmoid",
      }),
    );
    model.add(layers.layers.dense({ units: 2 }));
    return model;
  },
};

interface Plan {
  readonly attributes: Readonly<Record<string, string>>;
  readonly numbers: Readonly<
    Record<string, { readonly shape: readonly number[]; readonly data: readonly number[] }>
  >;
}

const hasH5py = (() => {
  try {
    execFileSync("/usr/bin/python3", ["-c", "import h5py"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

function writeH5(plan: Plan): Buffer {
  const [json, h5] = [join(folder, "plan.json"), join(folder, "file.h5")];
  writeFileSync(json, JSON.stringify(plan));
  execFileSync("/usr/bin/python3", [repository("test/cli/interchange/write-h5.py"), json, h5]);
  return readFileSync(h5);
}

interface Described {
  readonly class_name: string;
  readonly config: {
    layers: { class_name: string; config: Record<string, unknown>; name?: string }[];
  };
}

/** Random weights, so that no gate, shift or variance is where it began. */
function shaken(model: layers.LayersModel): void {
  model.setWeights(
    model.getWeights().map((weight, i) => {
      const values = numbers(weight.size, i).map((value) => 0.4 * value);
      const { name } = model.weights[i];
      return tf.tensor(
        name.includes("variance") ? values.map((v) => 1.2 + v) : values,
        weight.shape,
      );
    }),
  );
}

/** Where Keras 3 keeps a layer's variables: by class and count, in the order they were built in. */
function placesOf(model: layers.LayersModel): Map<string, string> {
  const counts = new Map<string, number>();
  const places = new Map<string, string>();
  for (const layer of model.layers) {
    const snake = layer
      .getClassName()
      .replace(/(.)([A-Z][a-z]+)/g, "$1_$2")
      .replace(/([a-z])([A-Z])/g, "$1_$2")
      .toLowerCase();
    const count = counts.get(snake) ?? 0;
    counts.set(snake, count + 1);
    const base = `layers/${count === 0 ? snake : `${snake}_${count}`}`;
    const built = new Map<string, number>();
    for (const { name } of layer.weights) {
      const part = /forward_/.test(name)
        ? "/forward_layer"
        : /backward_/.test(name)
          ? "/backward_layer"
          : layer.getClassName() === "TimeDistributed"
            ? "/layer"
            : "";
      const group = `${base}${part}${/lstm|gru/i.test(name) && !/time/i.test(name) ? "/cell" : ""}`;
      const i = built.get(group) ?? 0;
      built.set(group, i + 1);
      places.set(name, `${group}/vars/${i}`);
    }
  }
  return places;
}

for (const [name, build] of Object.entries(NETWORKS)) {
  const model = build();
  shaken(model);
  const shape = model.inputs[0].shape.slice(1) as number[];
  const size = shape.reduce((a, b) => a * b);
  const x = numbers(2 * size);
  const logits = async (): Promise<ArrayLike<number>> => {
    const y = model.predict(tf.tensor(x, [2, ...shape])) as tf.Tensor;
    const end = model.layers[model.layers.length - 1].getConfig()["activation"];
    const data = await y.data();
    // Probabilities become logits, up to a number for each example.
    if (end === "softmax") return Float32Array.from(data, Math.log);
    return end === "sigmoid" ? Float32Array.from(data, (p) => Math.log(p / (1 - p))) : data;
  };
  const compare = async (bytes: Uint8Array, path = "file", keepBatchNorm = false) => {
    const imported = await readAny(bytes, { beside: filesBeside(path), keepBatchNorm });
    const kept = imported.description.layers.filter(({ type }) => type === "batchNorm").length;
    assert.equal(kept, keepBatchNorm ? 2 : 0);
    const outputs = await outputsOf(imported, x);
    const softmax =
      imported.description.loss?.type === "softmaxCrossEntropy" && name.includes("batch");
    const width = outputs.length / 2;
    const centred = (z: ArrayLike<number>) =>
      softmax ? Array.from(z, (value, i) => value - z[i - (i % width)]) : z;
    assertNear(centred(outputs), centred(await logits()));
  };

  test(`model.json: ${name}`, async () => {
    const path = join(folder, "model.json");
    await model.save({
      save: async ({ modelTopology, weightSpecs, weightData }) => {
        writeFileSync(join(folder, "weights.bin"), new Uint8Array(weightData as ArrayBuffer));
        writeFileSync(
          path,
          JSON.stringify({
            modelTopology,
            format: "layers-model",
            weightsManifest: [{ paths: ["weights.bin"], weights: weightSpecs }],
          }),
        );
        return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: "JSON" } };
      },
    });
    await compare(readFileSync(path), path);
    if (name.includes("batch")) await compare(readFileSync(path), path, true);
  });

  const options = { skip: hasH5py ? false : "no h5py here: python3-h5py writes Keras' files" };
  const described = () =>
    JSON.parse(JSON.stringify(model.toJSON(undefined, false))) as {
      class_name: string;
      config: Described["config"];
    };
  const plan = (attributes: Plan["attributes"], place: (name: string) => string): Plan => ({
    attributes,
    numbers: Object.fromEntries(
      model.weights.map((weight, i) => {
        const tensor = model.getWeights()[i];
        return [place(weight.name), { shape: tensor.shape, data: [...tensor.dataSync()] }];
      }),
    ),
  });

  test(`Keras' .h5: ${name}`, options, async () => {
    const config = JSON.stringify({
      class_name: described().class_name,
      config: described().config,
    });
    const attributes = { model_config: config, keras_version: "2.10.0", backend: "tensorflow" };
    await compare(
      writeH5(plan(attributes, (path) => `model_weights/${path.split("/")[0]}/${path}:0`)),
    );
  });

  test(`Keras' .keras: ${name}`, options, async () => {
    const topology = described();
    for (const layer of topology.config.layers) {
      const { batch_input_shape: shape, ...config } = layer.config;
      layer.config = { ...config, ...(shape !== undefined && { batch_shape: shape }) };
      // Keras 3 says its own names of functions.
      const inner = layer.config["layer"] as { config: Record<string, unknown> } | undefined;
      for (const one of [layer.config, inner?.config])
        if (one?.["activation"] === "elu")
          one["activation"] = { module: "builtins", class_name: "function", config: "elu" };
    }
    const places = placesOf(model);
    const weights = writeH5(plan({}, (path) => places.get(path)!));
    // tfjs computes the slope of Keras 2.
    const metadata = JSON.stringify({
      keras_version: name.includes("recurrent") ? "2.15.0" : "3.6.0",
    });
    await compare(
      writeZip({
        "metadata.json": Buffer.from(metadata),
        "config.json": Buffer.from(JSON.stringify(topology)),
        "model.weights.h5": weights,
      }),
    );
  });
}
