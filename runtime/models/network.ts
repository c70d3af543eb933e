import type * as v from "valibot";
import { ModelError } from "../errors.js";
import { layoutOf, type Layout, type Parameter } from "../tensors/layout.js";
import { elements } from "../tensors/shape.js";
import {
  LAYER_KINDS,
  type LayerDescription,
  type LossDescription,
  type ModelDescription,
} from "./description.js";
import { activationNamed, type ActivationName } from "./layers/activations.js";
import {
  type Complain,
  type Layer,
  type LayerKind,
  type Resolved,
  type Shape,
} from "./layers/layer.js";
import { LOSS_KINDS } from "./losses/built-in.js";
import type { Loss, LossKind } from "./losses/loss.js";
import { learnsIn, sharesOf, type Shares } from "./shares.js";

/** What MAN penalises at a layer, and under which name it is reported. */
export interface Tap {
  /** `${index}.${type}` of what says the activation. */
  readonly name: string;
  /** Elements of one example. */
  readonly size: number;
}

/** A layer of a network: its place, its activation, what it reads, and its parameters' places. */
export interface NetworkLayer extends Layer {
  /** Index in the description's `layers`: an activation layer that was taken in has none of its own. */
  readonly index: number;
  readonly type: LayerDescription["type"];
  readonly activation?: ActivationName;
  /** The layers that it reads, by their place in `Network.layers`; -1 is the network's input. */
  readonly sources: readonly number[];
  readonly tap?: Tap;
  readonly places: readonly Parameter[];
  /** Which of its parameters learn. */
  readonly learned: readonly boolean[];
  /** Something in or before it learns: it has a backward pass. */
  readonly learns: boolean;
}

/** A description whose layers fit together. */
export interface Network {
  readonly description: ModelDescription;
  readonly input: Shape;
  readonly output: Shape;
  /** Length of the output's last axis: classes, or numbers. */
  readonly classes: number;
  readonly layers: readonly NetworkLayer[];
  readonly loss: Loss;
  /** Parameters `${index}.kernel`, `.bias`, `.gamma`, `.beta` ... in layer order. */
  readonly layout: Layout;
  readonly shares: Shares;
}

/**
 * The most parameters that a network may have: 1 GiB of float32. Descriptions come from outside.
 */
const MAX_PARAMETERS = 2 ** 28;

/** The name under which a layer reads the network's input. */
const INPUT = "input";

/** A layer before its parameters have places; `spoken` is the index of what says its activation. */
type Node = { spoken: number } & {
  -readonly [Key in keyof Omit<NetworkLayer, "places">]: Omit<NetworkLayer, "places">[Key];
};

/**
 * Infers every layer's shapes, and joins each activation layer with the layer before it.
 * @throws ModelError `description` that names layer, type and field, where a layer does not fit its
 * inputs, a name is missing, or the output does not fit the loss.
 */
export function networkOf(description: ModelDescription): Network {
  const nodes = nodesOf(description);
  const last = nodes[nodes.length - 1];
  const loss = lossOf(description, last);
  tap(nodes, description.layers);
  const layout = layoutOf(
    nodes.flatMap(({ index, parameters }) =>
      parameters.map(({ name, shape }) => ({ name: `${index}.${name}`, shape })),
    ),
  );
  if (layout.size > MAX_PARAMETERS)
    throw new ModelError(
      "description",
      `"layers" expected at most ${MAX_PARAMETERS} parameters, got ${layout.size}`,
    );
  let place = 0;
  const placed = nodes.map(({ spoken: _, ...node }) => ({
    ...node,
    places: layout.parameters.slice(place, (place += node.parameters.length)),
  }));
  return {
    description,
    input: description.input,
    output: last.output,
    classes: last.output[last.output.length - 1],
    layers: placed,
    loss,
    layout,
    shares: sharesOf(
      placed.flatMap(({ index, places, learned, parameters }) =>
        places.map((place, i) => ({
          place,
          learns: learned[i],
          personal: description.layers[index].personal === true,
          statistic: parameters[i].statistic === true && description.layers[index].frozen !== true,
        })),
      ),
    ),
  };
}

/** The layers with their inputs, activations joined. */
function nodesOf({ input, layers }: ModelDescription): Node[] {
  const nodes: Node[] = [];
  /** Names so far, and the place of each; -1 is the input. */
  const names = new Map([[INPUT, -1]]);
  const shapeOf = (place: number) => (place === -1 ? input : nodes[place].output);

  layers.forEach((layer, index) => {
    const { type, name, inputs } = layer;
    const complain: Complain = (field, expected, got) => {
      throw new ModelError(
        "description",
        `"layers[${index}].${type}.${field}" expected ${expected}, got ${got}`,
      );
    };
    if (name !== undefined && names.has(name)) complain("name", "a name of its own", `"${name}"`);
    const said = activationOf(layer);
    const before = nodes[nodes.length - 1];
    if (said !== undefined && inputs === undefined && joins(layers, index, before, said)) {
      if (before.activation === undefined)
        Object.assign(before, { activation: said, spoken: index });
      if (name !== undefined) names.set(name, nodes.length - 1);
      return;
    }
    const sources = inputs?.map((source) => {
      const place = names.get(source);
      if (place === undefined)
        return complain("inputs", `names of layers before it, or "input"`, `"${source}"`);
      return place;
    }) ?? [nodes.length - 1];
    // The schema of this very kind has read the layer, so its description is of the type that
    // resolve takes.
    const kind = LAYER_KINDS[type] as unknown as LayerKind<
      v.GenericSchema<unknown, LayerDescription>
    >;
    checkInputs(kind, sources, complain);
    const { layer: resolved, activation }: Resolved = kind.resolve(
      layer,
      sources.map(shapeOf),
      complain,
    );
    const learned = resolved.parameters.map((one) => learnsIn(one, layer.frozen === true));
    nodes.push({
      ...resolved,
      ...{ index, spoken: index, type, activation, sources, learned },
      learns: learned.includes(true) || sources.some((source) => nodes[source]?.learns),
    });
    if (name !== undefined) names.set(name, nodes.length - 1);
  });

  const read = new Set(nodes.flatMap(({ sources }) => sources));
  nodes.forEach(({ index, type }, place) => {
    if (place < nodes.length - 1 && !read.has(place))
      throw new ModelError(
        "description",
        `"layers[${index}].${type}" expected a layer that reads it, got none`,
      );
  });
  return nodes;

  /** Whether an activation layer becomes part of the layer before it, which nobody else reads. */
  function joins(
    all: readonly LayerDescription[],
    index: number,
    before: Node | undefined,
    said: ActivationName,
  ): boolean {
    if (before === undefined) return false;
    const taken = all[before.index];
    // A layer that names this one reads what it gives without the activation.
    if (all.slice(before.index, index).some(({ name }) => name !== undefined)) return false;
    // relu behind relu stays one.
    if (said === "relu" && before.activation === "relu") return true;
    return before.activation === undefined && LAYER_KINDS[taken.type].takesActivation === true;
  }
}

function activationOf(layer: LayerDescription): ActivationName | undefined {
  if (layer.type === "relu") return "relu";
  return layer.type === "activation" ? layer.activation : undefined;
}

function checkInputs(
  { inputs }: LayerKind<v.GenericSchema<unknown, LayerDescription>>,
  sources: readonly number[],
  complain: Complain,
): void {
  if (inputs === "several") {
    if (sources.length < 2) complain("inputs", "two names or more", String(sources.length));
    if (new Set(sources).size < sources.length)
      complain("inputs", "another layer each", "one of them twice");
  } else if (sources.length !== 1) complain("inputs", "one name", String(sources.length));
}

/**
 * Names what MAN penalises: the output of every hidden nonlinearity (of a recurrent layer its state
 * at all steps) that is neither bounded to 0..1 nor has nothing to learn in or before it, unless the
 * description says otherwise. The last layer, also one behind which only reshaping stands, has none.
 */
function tap(nodes: Node[], layers: readonly LayerDescription[]): void {
  let output = nodes.length - 1;
  while (nodes[output].sameElements && nodes[output].sources[0] >= 0)
    output = nodes[output].sources[0];
  nodes.forEach((node, place) => {
    const { activation, stateElements, learns, index, spoken } = node;
    const nonlinear =
      stateElements !== undefined ||
      (activation !== undefined && activationNamed(activation).tapped);
    const asked = layers[spoken].tap ?? layers[index].tap;
    const size = stateElements ?? elements(node.output);
    const name = `${spoken}.${layers[spoken].type}`;
    const byRule = nonlinear && place !== output && learns;
    node.tap = (asked ?? byRule) ? { name, size } : undefined;
  });
}

function lossOf({ loss, input, layers }: ModelDescription, last: Node): Loss {
  const lastIndex = layers.length - 1;
  const description: LossDescription = loss ?? { type: "softmaxCrossEntropy" };
  const complain = (field: string, expected: string, got: string): never => {
    throw new ModelError("description", `"loss.${field}" expected ${expected}, got ${got}`);
  };
  // The schema of this very kind has read the description.
  const kind = LOSS_KINDS[description.type] as unknown as LossKind<
    v.GenericSchema<unknown, LossDescription>
  >;
  const { type } = layers[lastIndex];
  const shown =
    last.activation === undefined || last.spoken !== last.index
      ? type
      : `${type} with ${last.activation}`;
  if (
    kind.takesLogits &&
    (last.activation !== undefined || (loss === undefined && type !== "dense"))
  )
    throw new ModelError(
      "description",
      `"layers[${lastIndex}]" expected a dense layer without activation, whose outputs are the logits, got ${shown}`,
    );
  return kind.resolve(description, last.output, input, complain);
}
