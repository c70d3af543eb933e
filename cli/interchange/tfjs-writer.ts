import type { Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { sayNetwork } from "./keras-layers.js";
import { notesOf } from "./notes.js";

/** The files of a layers-model. */
export interface TfjsFiles {
  readonly "model.json": string;
  readonly "weights.bin": Uint8Array;
}

/**
 * A model as a layers-model of TensorFlow.js. It takes raw values and gives logits, or numbers in
 * the target's units.
 * @throws ModelError `import` that names a layer that TensorFlow.js does not have
 */
export function writeTfjs(model: Model): TfjsFiles {
  const { input: shape } = networkOf(model.description);
  const { layers, input, output } = sayNetwork(model, "TensorFlow.js");
  const config = {
    name: "fedflat",
    layers: [
      {
        ...{ name: input, class_name: "InputLayer", inbound_nodes: [] },
        config: { name: input, batch_input_shape: [null, ...shape], dtype: "float32" },
      },
      ...layers.map(({ name, type, config: own, inputs }) => ({
        ...{ name, class_name: type, config: { name, ...own } },
        inbound_nodes: [inputs.map((from) => [from, 0, 0, {}])],
      })),
    ],
    input_layers: [[input, 0, 0]],
    output_layers: [[output, 0, 0]],
  };
  const tensors = layers.flatMap(({ name, weights = {} }) =>
    Object.entries(weights).map(([path, tensor]) => ({
      name: `${name}/${path.split("/").at(-1)}`,
      ...tensor,
    })),
  );
  const json = {
    format: "layers-model",
    generatedBy: "fedflat",
    modelTopology: {
      class_name: "Model",
      config,
      keras_version: "tfjs-layers 4.22.0",
      backend: "tensor_flow.js",
    },
    weightsManifest: [
      {
        paths: ["weights.bin"],
        weights: tensors.map(({ name, shape }) => ({ name, shape, dtype: "float32" })),
      },
    ],
    userDefinedMetadata: notesOf(model),
  };
  const bytes = tensors.map(
    ({ data: { buffer, byteOffset, byteLength } }) =>
      new Uint8Array(buffer, byteOffset, byteLength),
  );
  return { "model.json": `${JSON.stringify(json)}\n`, "weights.bin": Buffer.concat(bytes) };
}
