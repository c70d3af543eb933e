import { float16 } from "../../runtime/data/npy.js";
import { parseDescription, type LayerDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import { parseCard, type ModelCard } from "../../runtime/models/model.js";
import { readSafetensors } from "../../runtime/tensors/safetensors.js";
import { elements } from "../../runtime/tensors/shape.js";
import {
  blocks,
  namesFor,
  permute,
  refuse,
  refuseFlag,
  rowsOf,
  type FileTensor,
  type Imported,
  type ReadOptions,
} from "./imported.js";

type LayerType = LayerDescription["type"];
type Take = (name: string, shape: readonly number[]) => FileTensor;

/** Halves of two biases of a recurrent layer, one added to the other. */
const sum = (a: FileTensor, b: FileTensor): FileTensor => ({
  shape: a.shape,
  data: a.data.map((value, i) => value + b.data[i]),
});

/** PyTorch's tensors of a layer as ours: parameters by their names, shapes being ours. */
const LAYERS: Partial<
  Record<
    LayerType,
    (
      take: Take,
      shapes: Readonly<Record<string, readonly number[]>>,
      resetAfter: boolean,
    ) => Record<string, FileTensor>
  >
> = {
  dense: (take, { kernel: [inputs, units] }) => ({
    kernel: permute(take("weight", [units, inputs]), [1, 0]),
    bias: take("bias", [units]),
  }),
  conv1d: (take, { kernel: [size, inputs, filters] }) => ({
    kernel: permute(take("weight", [filters, inputs, size]), [2, 1, 0]),
    bias: take("bias", [filters]),
  }),
  conv2d: (take, { kernel: [height, width, inputs, filters] }) => ({
    kernel: permute(take("weight", [filters, inputs, height, width]), [2, 3, 1, 0]),
    bias: take("bias", [filters]),
  }),
  depthwiseConv2d(take, { kernel: [height, width, channels, multiplier] }) {
    const { data } = take("weight", [channels * multiplier, 1, height, width]);
    const shape = [channels, multiplier, height, width];
    return {
      kernel: permute({ shape, data }, [2, 3, 0, 1]),
      bias: take("bias", [channels * multiplier]),
    };
  },
  conv1dTranspose: (take, { kernel: [size, filters, inputs] }) => ({
    kernel: permute(take("weight", [inputs, filters, size]), [2, 1, 0]),
    bias: take("bias", [filters]),
  }),
  conv2dTranspose: (take, { kernel: [height, width, filters, inputs] }) => ({
    kernel: permute(take("weight", [inputs, filters, height, width]), [2, 3, 1, 0]),
    bias: take("bias", [filters]),
  }),
  groupNorm: (take, { gamma }) => ({ gamma: take("weight", gamma), beta: take("bias", gamma) }),
  layerNorm: (take, { gamma }) => ({ gamma: take("weight", gamma), beta: take("bias", gamma) }),
  embedding: (take, { kernel }) => ({ kernel: take("weight", kernel) }),
  positionEmbedding: (take, { kernel }) => ({ kernel: take("weight", kernel) }),
  // PyTorch has the gates r z n, we have z r n.
  gru(take, { kernel: [inputs, width], recurrentKernel: [units] }, resetAfter) {
    const order = [1, 0, 2];
    if (!resetAfter) refuse("gru", "resetAfter", "true, as in PyTorch", "false");
    return {
      kernel: blocks(permute(take("weight_ih_l0", [width, inputs]), [1, 0]), order),
      recurrentKernel: blocks(permute(take("weight_hh_l0", [width, units]), [1, 0]), order),
      bias: blocks(take("bias_ih_l0", [width]), order),
      recurrentBias: blocks(take("bias_hh_l0", [width]), order),
    };
  },
  lstm: (take, { kernel: [inputs, width], recurrentKernel: [units] }) => ({
    kernel: permute(take("weight_ih_l0", [width, inputs]), [1, 0]),
    recurrentKernel: permute(take("weight_hh_l0", [width, units]), [1, 0]),
    bias: sum(take("bias_ih_l0", [width]), take("bias_hh_l0", [width])),
  }),
  multiHeadAttention: (take, { kernel: [channels, width] }) => ({
    kernel: permute(take("in_proj_weight", [width, channels]), [1, 0]),
    bias: take("in_proj_bias", [width]),
    outputKernel: permute(take("out_proj.weight", [channels, width / 3]), [1, 0]),
    outputBias: take("out_proj.bias", [channels]),
  }),
};

/** The tensors that may be left out: a layer without bias has zeros. */
const OPTIONAL = /bias/;

/**
 * Reads a PyTorch state_dict that was saved as safetensors, and the description of its network. A
 * module's tensors belong to the layer of its name, with `_` for each dot, else to the next layer
 * that has parameters, modules in the order of their names: 0, 1, 2 .. of nn.Sequential.
 * @throws ModelError `import`, `safetensors`, `description`
 */
export function readStateDict(
  bytes: Uint8Array,
  { network: json, head, loss }: ReadOptions,
): Imported {
  if (json === undefined)
    return refuseFlag(
      "description",
      "JSON beside a state_dict, which holds numbers only",
      undefined,
    );
  if (head !== undefined || loss !== undefined)
    refuseFlag(
      head === undefined ? "loss" : "head",
      "--description to say it for a state_dict",
      head ?? loss,
    );
  const { description, ...card } = cardOf(json);
  const { layers } = networkOf(description);
  const modules = modulesOf(bytes);
  const tensors = new Map<string, Float32Array>();
  const { rows } = flattened(layers);
  for (const { index, type, places } of layers) {
    if (places.length === 0) continue;
    const convert = LAYERS[type];
    if (convert === undefined)
      return refuse(`layers[${index}]`, "type", Object.keys(LAYERS).join(", "), type);
    const layer = description.layers[index];
    const named = modules.findIndex(({ name }) => name.replaceAll(".", "_") === layer.name);
    const [module] = modules.splice(Math.max(named, 0), 1);
    if (module === undefined)
      return refuse(`layers[${index}].${type}`, "", "a module with tensors", "none that is left");
    const label = `${module.name || "module"} (for layers[${index}].${type})`;
    const take: Take = (name, shape) => {
      const found = module.tensors.get(name);
      module.tensors.delete(name);
      if (found === undefined && OPTIONAL.test(name))
        return { shape, data: new Float32Array(elements(shape)) };
      if (
        found === undefined ||
        elements(found.shape) !== elements(shape) ||
        (found.shape.length > 1 && found.shape.join() !== shape.join())
      )
        return refuse(label, name, shape.join(" x "), found?.shape.join(" x ") ?? "nothing");
      return { shape, data: found.data };
    };
    const shapes = Object.fromEntries(
      places.map(({ name, shape }) => [name.slice(name.indexOf(".") + 1), shape]),
    );
    const read = convert(take, shapes, layer.type !== "gru" || layer.resetAfter !== false);
    const [left] = module.tensors.keys();
    if (left !== undefined) refuse(label, left, "tensors of this kind of layer", left);
    const image = rows.get(index);
    if (image !== undefined && read["kernel"]) {
      const { shape, data } = read["kernel"];
      read["kernel"] = { shape, data: rowsOf(data, image, shape[1]) };
    }
    for (const [name, { data }] of Object.entries(read)) tensors.set(`${index}.${name}`, data);
  }
  const [over] = modules;
  if (over !== undefined)
    refuse(over.name, "", "a layer for every module", "more modules than layers");
  return { description, tensors, notes: [], card };
}

/** A description alone, or the card of a model with what was done to its inputs. */
function cardOf(json: unknown): ModelCard {
  if (typeof json !== "object" || json === null || !("description" in json))
    return cardOf({ description: json });
  const description = parseDescription(json.description);
  // Tokens have the names of the vocabulary.
  return parseCard({ ...(!("vocabulary" in json) && { classes: namesFor(description) }), ...json });
}

/** The modules of a state_dict in its order, each with its tensors. */
function modulesOf(bytes: Uint8Array): { name: string; tensors: Map<string, FileTensor> }[] {
  const modules = new Map<string, Map<string, FileTensor>>();
  const inOrder = [...readSafetensors(bytes).tensors.values()].sort((a, b) =>
    a.name.localeCompare(b.name, "en", { numeric: true }),
  );
  for (const { name, shape, data } of inOrder) {
    if (/num_batches_tracked$/.test(name)) continue;
    const short = /^(?:(.*?)\.)?((?:out_proj\.)?[^.]+)$/.exec(name);
    const [module, own] = [short?.[1] ?? "", short?.[2] ?? name];
    if (/^running_/.test(own)) refuse(module, own, "a network without batch normalisation", "one");
    const numbers =
      data instanceof Uint16Array ? Float32Array.from(data, float16) : Float32Array.from(data);
    const known = modules.get(module) ?? new Map<string, FileTensor>();
    known.set(own, { shape, data: numbers });
    modules.set(module, known);
  }
  return [...modules].map(([name, tensors]) => ({ name, tensors }));
}

/**
 * Images that PyTorch flattens with the channels first, so that the rows of the dense layers behind
 * lie otherwise: `images` by the place of the flatten, `rows` by the index of the dense layer.
 */
export function flattened(layers: ReturnType<typeof networkOf>["layers"]) {
  const rows = new Map<number, readonly number[]>();
  const images = new Map<number, readonly number[]>();
  const behind = new Map<number, { readonly image: readonly number[]; readonly from: number }>();
  layers.forEach(({ index, type, sources, input }, place) => {
    const read = sources.length === 1 ? behind.get(sources[0]) : undefined;
    if (type === "flatten" && input.length > 1) behind.set(place, { image: input, from: place });
    else if (read !== undefined && ["dropout", "relu", "activation"].includes(type))
      behind.set(place, read);
    else if (read !== undefined && type === "dense") {
      rows.set(index, read.image);
      images.set(read.from, read.image);
    }
  });
  layers.forEach(({ index, type, sources }) => {
    const mixed = sources.map((at) => behind.get(at)).find((read) => images.has(read?.from ?? -1));
    if (mixed !== undefined && !["dense", "dropout", "relu", "activation"].includes(type))
      refuse(
        `layers[${index}].${type}`,
        "inputs",
        "no flattened image that a dense layer reads",
        type,
      );
  });
  return { rows, images };
}
