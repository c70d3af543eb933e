import { float16 } from "../../runtime/data/npy.js";
import { readZip } from "../../runtime/data/zip.js";
import { ModelError } from "../../runtime/errors.js";
import { parseJson } from "../json.js";
import { readHdf5 } from "./hdf5.js";
import { elements } from "../../runtime/tensors/shape.js";
import { readNotes } from "./notes.js";
import { lossSaid, readKeras, variablesByName, variablesByPlace } from "./keras.js";
import {
  MAX_PARAMETERS,
  refuse,
  unpackedAtMost,
  type Imported,
  type ReadOptions,
  type FileTensor,
} from "./imported.js";

type Json = Readonly<Record<string, unknown>>;

const decoder = new TextDecoder();

function parse(text: string, what: string): Json {
  const value = parseJson(
    text,
    (got) => new ModelError("import", `"${what}" expected JSON, got ${got}`),
  );
  return typeof value === "object" && value !== null
    ? (value as Json)
    : refuse(what, "", "an object", value);
}

/** A legacy `.h5` of Keras 2, or of Keras 3. @throws ModelError `import` */
export function readKerasH5(bytes: Uint8Array, options: ReadOptions): Imported {
  const wanted = (path: string) => !path.startsWith("optimizer_weights");
  const { attributes, numbers } = readHdf5(bytes, wanted);
  const config = attributes["model_config"];
  if (config === undefined)
    return refuse(
      "file",
      "model_config",
      "a whole model",
      "weights alone (save the model, not its weights)",
    );
  const { training_config: training, keras_version: version = "2" } = attributes;
  const loss = lossSaid(training === undefined ? undefined : parse(training, "training_config"));
  const topology = parse(config, "model_config");
  return readKeras(topology, variablesByName(numbers), { version, notes: { loss } }, options);
}

/** A `.keras` archive of Keras 3. @throws ModelError `import`, DataError where the archive is damaged */
export async function readKerasZip(bytes: Uint8Array, options: ReadOptions): Promise<Imported> {
  const names = ["config.json", "metadata.json", "model.weights.h5"];
  const files = await readZip("file", bytes, unpackedAtMost(bytes.length), (name) =>
    names.includes(name),
  );
  const [config, metadata, weights] = names.map((name) => files.get(name));
  if (config === undefined || weights === undefined)
    return refuse(
      "file",
      "",
      "an archive with config.json and model.weights.h5",
      [...files.keys()].slice(0, 5),
    );
  const topology = parse(decoder.decode(config), "config.json");
  const about = metadata && parse(decoder.decode(metadata), "metadata.json");
  const said = about?.["keras_version"];
  const notes = { loss: lossSaid(topology["compile_config"]), ...readNotes(about?.["fedflat"]) };
  const { numbers } = readHdf5(weights, (path) => !path.startsWith("optimizer"));
  const version = typeof said === "string" ? said : "3";
  return readKeras(topology, variablesByPlace(numbers), { version, notes }, options);
}

/** A layers-model of TensorFlow.js: model.json, its shards beside it. @throws ModelError `import` */
export async function readTfjs(bytes: Uint8Array, options: ReadOptions): Promise<Imported> {
  const model = parse(decoder.decode(bytes), "model.json");
  const { format, weightsManifest } = model;
  if (model["modelTopology"] === undefined)
    return refuse("file", "modelTopology", "the network beside its weights", "a manifest alone");
  const topology = parse(JSON.stringify(model["modelTopology"] ?? null), "modelTopology");
  if (format === "graph-model" || "node" in topology || "library" in topology)
    return refuse("model.json", "format", "layers-model", "graph-model");
  const numbers = await readManifest(weightsManifest, options.beside);
  const inner = (topology["model_config"] ?? topology) as Json;
  const training = topology["training_config"] ?? model["trainingConfig"];
  const version = String(topology["keras_version"] ?? "2");
  const notes = { loss: lossSaid(training), ...readNotes(model["userDefinedMetadata"]) };
  return readKeras(inner, variablesByName(numbers), { version, notes }, options);
}

/** Numbers of a weights manifest, quantised ones too. @throws ModelError `import` */
export async function readManifest(
  manifest: unknown,
  beside: ReadOptions["beside"],
): Promise<Map<string, FileTensor>> {
  if (!Array.isArray(manifest)) return refuse("weightsManifest", "", "a list", manifest);
  const numbers = new Map<string, FileTensor>();
  let size = 0;
  for (const group of manifest as unknown[]) {
    const { paths, weights } = (group ?? {}) as Json;
    if (!Array.isArray(paths) || !Array.isArray(weights))
      return refuse("weightsManifest", "", "paths and weights", group);
    const shards: Uint8Array[] = [];
    for (const path of paths.slice(0, 10_000)) shards.push(await beside(String(path)));
    const bytes = shards.length === 1 ? shards[0] : Buffer.concat(shards);
    let at = 0;
    for (const entry of weights as unknown[]) {
      const { name, shape, dtype, quantization } = (entry ?? {}) as Json;
      const label = String(name);
      if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0))
        return refuse(label, "shape", "whole numbers", shape);
      const count = elements(shape as number[]);
      size += count;
      if (!(size <= MAX_PARAMETERS))
        refuse(label, "shape", `at most ${MAX_PARAMETERS} numbers in all`, shape);
      const [type, width] = storedAs(label, dtype, quantization);
      if (at + count * width > bytes.length)
        refuse(
          label,
          "",
          `${count * width} bytes of weights`,
          `${bytes.length - at} that are left`,
        );
      const data = numbersIn(label, bytes.subarray(at, at + count * width), type, quantization);
      numbers.set(label, { shape: shape as number[], data });
      at += count * width;
    }
    if (at !== bytes.length)
      refuse("weightsManifest", "", `${at} bytes of weights`, String(bytes.length));
  }
  return numbers;
}

const WIDTHS = { float32: 4, int32: 4, bool: 1, uint8: 1, uint16: 2, float16: 2 } as const;

function storedAs(
  label: string,
  dtype: unknown,
  quantization: unknown,
): [keyof typeof WIDTHS, number] {
  const stored = quantization === undefined ? dtype : (quantization as Json | null)?.["dtype"];
  const type = (Object.keys(WIDTHS) as (keyof typeof WIDTHS)[]).find((one) => one === stored);
  if (type === undefined) return refuse(label, "dtype", Object.keys(WIDTHS).join(", "), stored);
  return [type, WIDTHS[type]];
}

function numbersIn(
  label: string,
  bytes: Uint8Array,
  type: keyof typeof WIDTHS,
  quantization: unknown,
): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const to = new Float32Array(bytes.length / WIDTHS[type]);
  const { scale, min } = (quantization ?? { scale: 1, min: 0 }) as Json;
  if (type === "float16")
    for (let i = 0; i < to.length; i++) to[i] = float16(view.getUint16(2 * i, true));
  else if (type === "float32")
    for (let i = 0; i < to.length; i++) to[i] = view.getFloat32(4 * i, true);
  else if (type === "int32") for (let i = 0; i < to.length; i++) to[i] = view.getInt32(4 * i, true);
  else {
    if (typeof scale !== "number" || typeof min !== "number")
      return refuse(label, "quantization", "scale and min", quantization);
    for (let i = 0; i < to.length; i++)
      to[i] = scale * (type === "uint16" ? view.getUint16(2 * i, true) : bytes[i]) + min;
  }
  return to;
}
