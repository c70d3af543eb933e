import { layoutOf, type Layout, type Parameter, type Vector } from "../tensors/layout.js";
import type { LayerParameter } from "./layers/layer.js";

// What becomes of a model's tensors in training: which are trained and sent, which are trained and
// stay on the device, and which stay as they are.

/** Some tensors of a model. */
export interface Share {
  /** Where each lies in a vector of all the model's tensors. */
  readonly places: readonly Parameter[];
  /** The same end to end, in a vector of their own. */
  readonly layout: Layout;
}

export interface Shares {
  /** Trained and sent: algorithms, updates and the aggregator see nothing else. */
  readonly shared: Share;
  /** Trained, kept by the client, never sent. */
  readonly personal: Share;
  /** What has a gradient: `shared`, and `personal` behind it. */
  readonly learning: Share;
  /** What no gradient moves: `statistics`, and behind them what nothing does. */
  readonly frozen: Share;
  /** What no sum of updates moves: all but `shared`. */
  readonly fixed: Share;
  /** Running values of batchNorm in layers that are not frozen; whether they move is the run's to say. */
  readonly statistics: Share;
  /** What training may move: `learning`, and `statistics` behind it. */
  readonly moving: Share;
}

/** A tensor of the model, and what decides its share. */
export interface Owned {
  readonly place: Parameter;
  readonly learns: boolean;
  readonly personal: boolean;
  readonly statistic: boolean;
}

/** Whether a layer's tensor learns: unless its kind says otherwise, where the layer is not frozen. */
export const learnsIn = ({ learns }: LayerParameter, isFrozen: boolean): boolean =>
  learns ?? !isFrozen;

const shareOf = (places: readonly Parameter[]): Share => ({ places, layout: layoutOf(places) });

export function sharesOf(tensors: readonly Owned[]): Shares {
  const places = (wanted: (one: Owned) => boolean) =>
    tensors.filter(wanted).map(({ place }) => place);
  const shared = places(({ learns, personal }) => learns && !personal);
  const personal = places(({ learns, personal }) => learns && personal);
  const statistics = places(({ statistic }) => statistic);
  const learning = [...shared, ...personal];
  return {
    shared: shareOf(shared),
    personal: shareOf(personal),
    learning: shareOf(learning),
    frozen: shareOf([...statistics, ...places(({ learns, statistic }) => !learns && !statistic)]),
    statistics: shareOf(statistics),
    moving: shareOf([...learning, ...statistics]),
    fixed: shareOf(places(({ learns, personal }) => !learns || personal)),
  };
}

/** The share's part of a vector of all tensors: that vector itself where the two are the same. */
export function takeShare({ places, layout }: Share, whole: Vector): Vector {
  const isWhole = places.every(({ offset }, i) => offset === layout.parameters[i].offset);
  if (isWhole && layout.size === whole.length) return whole;
  const part = new Float32Array(layout.size);
  places.forEach(({ offset, size }, i) =>
    part.set(whole.subarray(offset, offset + size), layout.parameters[i].offset),
  );
  return part;
}

/** Writes the share's part of a vector of all tensors. */
export const putShare = (
  { places, layout }: Share,
  part: Vector | Float64Array,
  whole: Vector,
): void =>
  places.forEach(({ offset, size }, i) => {
    const from = layout.parameters[i].offset;
    whole.set(part.subarray(from, from + size), offset);
  });
