import type { Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { writeHdf5 } from "./hdf5-writer.js";
import type { FileTensor } from "./imported.js";
import { snakeCase } from "./keras.js";
import { sayNetwork, type PlacedLayer } from "./keras-layers.js";
import { notesOf } from "./notes.js";
import { writeZip } from "./zip-writer.js";

/**
 * A model as a `.keras` archive of Keras 3. It takes raw values and gives logits, or numbers in the
 * target's units.
 * @throws ModelError `import` that names a layer that Keras does not have
 */
export function writeKeras(model: Model): Uint8Array {
  const { input: shape } = networkOf(model.description);
  const { layers, input, output } = sayNetwork(model, "Keras");
  const tensor = (from: string) => ({
    class_name: "__keras_tensor__",
    config: { shape: [null], dtype: "float32", keras_history: [from, 0, 0] },
  });
  const config = {
    module: "keras.src.models.functional",
    class_name: "Functional",
    config: {
      name: "fedflat",
      trainable: true,
      layers: [
        {
          ...{ module: "keras.layers", class_name: "InputLayer", registered_name: null },
          config: { batch_shape: [null, ...shape], dtype: "float32", name: input },
          ...{ name: input, inbound_nodes: [] },
        },
        ...layers.map(({ name, type, config: own, inputs, named = {}, times = 1 }) => ({
          ...{ module: "keras.layers", class_name: type, registered_name: null },
          config: { name, ...own },
          name,
          inbound_nodes: [
            {
              args: argumentsOf(
                type,
                Array<string[]>(times)
                  .fill([...inputs])
                  .flat()
                  .map(tensor),
              ),
              kwargs: named,
            },
          ],
        })),
      ],
      input_layers: [input, 0, 0],
      output_layers: [output, 0, 0],
    },
    registered_name: "Functional",
  };
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  return writeZip({
    "metadata.json": json({ keras_version: "3.0.0", fedflat: notesOf(model) }),
    "config.json": json(config),
    "model.weights.h5": writeHdf5(variablesOf(layers)),
  });
}

/** Layers of several inputs are given a list, others each of theirs. */
const argumentsOf = (type: string, tensors: readonly unknown[]): readonly unknown[] =>
  ["Add", "Multiply", "Concatenate"].includes(type) ? [tensors] : tensors;

/** Where Keras 3 looks for numbers: by class and count, and by the order they are built in. */
function variablesOf(layers: readonly PlacedLayer[]): Map<string, FileTensor | undefined> {
  // The network has none of its own, but must have a group for them.
  const variables = new Map<string, FileTensor | undefined>([["vars/", undefined]]);
  const counts = new Map<string, number>();
  for (const { type, weights = {} } of layers) {
    const snake = snakeCase(type);
    const count = counts.get(snake) ?? 0;
    counts.set(snake, count + 1);
    const built = new Map<string, number>();
    for (const [path, tensor] of Object.entries(weights)) {
      const inside = path.slice(0, path.lastIndexOf("/") + 1);
      const place = built.get(inside) ?? 0;
      built.set(inside, place + 1);
      const group = count === 0 ? snake : `${snake}_${count}`;
      variables.set(`layers/${group}/${inside}vars/${place}`, tensor);
    }
  }
  return variables;
}
