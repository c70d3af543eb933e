import type * as v from "valibot";
import { ModelError } from "../errors.js";
import { layoutOf, type Layout, type Parameter } from "../tensors/layout.js";
import { LAYER_KINDS, type LayerDescription, type ModelDescription } from "./description.js";
import type { Layer, LayerKind, Shape } from "./layers/layer.js";

/**
 * A layer of a network, with its place in the description and its parameters' places in the layout.
 */
export interface NetworkLayer extends Layer {
  /** Index in the description's `layers`: a ReLU layer that was taken in has none of its own. */
  readonly index: number;
  readonly type: LayerDescription["type"];
  readonly places: readonly Parameter[];
}

/** A description whose layers fit together. */
export interface Network {
  readonly description: ModelDescription;
  readonly input: Shape;
  /** Number of logits. */
  readonly classes: number;
  readonly layers: readonly NetworkLayer[];
  /** Parameters `${index}.kernel`, `.bias`, `.gamma`, `.beta` in layer order. */
  readonly layout: Layout;
}

/**
 * The most parameters that a network may have: 1 GiB of float32. Descriptions come from outside.
 */
const MAX_PARAMETERS = 2 ** 28;

/**
 * Infers every layer's shapes, and joins each ReLU with the layer before it.
 * @throws ModelError `description` that names layer, type and field, where a layer does not fit its input, and where the
 * last layer is not dense without activation.
 */
export function networkOf(description: ModelDescription): Network {
  const layers: Omit<NetworkLayer, "places">[] = [];
  let input: Shape = description.input;
  description.layers.forEach((layer, index) => {
    const before = description.layers[index - 1];
    if (layer.type === "relu" && before && LAYER_KINDS[before.type].takesRelu) return;
    const { type } = layer;
    const complain = (field: string, expected: string, got: string): never => {
      throw new ModelError(
        "description",
        `"layers[${index}].${type}.${field}" expected ${expected}, got ${got}`,
      );
    };
    const relu = description.layers[index + 1]?.type === "relu";
    // The schema of this very kind has read the layer, so its description is of the type that
    // resolve takes.
    const kind = LAYER_KINDS[type] as unknown as LayerKind<
      v.GenericSchema<unknown, LayerDescription>
    >;
    const resolved = kind.resolve(layer, input, relu, complain);
    layers.push({ ...resolved, index, type });
    input = resolved.output;
  });
  const last = layers[layers.length - 1];
  const lastIndex = description.layers.length - 1;
  const { type } = description.layers[lastIndex];
  const shown = type === "dense" && last.rectified ? "dense with relu" : type;
  if (last.type !== "dense" || last.rectified)
    throw new ModelError(
      "description",
      `"layers[${lastIndex}]" expected a dense layer without activation, whose outputs are the logits, got ${shown}`,
    );
  const layout = layoutOf(
    layers.flatMap(({ index, parameters }) =>
      parameters.map(({ name, shape }) => ({
        name: `${index}.${name}`,
        shape,
      })),
    ),
  );
  if (layout.size > MAX_PARAMETERS)
    throw new ModelError(
      "description",
      `"layers" expected at most ${MAX_PARAMETERS} parameters, got ${layout.size}`,
    );
  let place = 0;
  return {
    description,
    input: description.input,
    classes: last.output[0],
    layers: layers.map((layer) => ({
      ...layer,
      places: layout.parameters.slice(place, (place += layer.parameters.length)),
    })),
    layout,
  };
}
