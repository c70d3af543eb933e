import { ConfigError } from "../runtime/errors.js";
import {
  LAYER_KINDS,
  type LayerDescription,
  type ModelDescription,
} from "../runtime/models/description.js";
import { networkOf } from "../runtime/models/network.js";

/** Which layers a person wants frozen or personal, in words. */
export interface ShareWords {
  readonly freeze?: string;
  readonly personal?: string;
}

const WORDS = `"all but last N", "first N", "last N" or a layer's type`;

/**
 * The description with layers marked as frozen or personal. Only layers that have parameters are
 * counted, since nothing else learns.
 * @throws ConfigError `usage`
 */
export function withShares(
  description: ModelDescription,
  { freeze, personal }: ShareWords,
): ModelDescription {
  if (freeze === undefined && personal === undefined) return description;
  const learners = networkOf(description)
    .layers.filter(({ places }) => places.length > 0)
    .map(({ index, type }) => ({ index, type }));
  const frozen = chosen("--freeze", freeze, learners);
  const own = chosen("--personal", personal, learners);
  const adapted = [...frozen].find((index) => "lora" in description.layers[index]);
  if (adapted !== undefined)
    throw wrong(
      "--freeze",
      `layers without lora: the kernel of layer ${adapted} does not learn anyway, and its adapters do`,
      freeze!,
    );
  const layers = description.layers.map((layer, index): LayerDescription => ({
    ...layer,
    ...(frozen.has(index) && { frozen: true }),
    ...(own.has(index) && { personal: true }),
  }));
  const both = layers.findIndex((layer) => layer.frozen && layer.personal);
  if (both >= 0)
    throw personal === undefined
      ? wrong("--freeze", `layers that are not personal, as layer ${both} is`, freeze!)
      : wrong("--personal", `layers that are not frozen, as layer ${both} is`, personal);
  const marked = { ...description, layers };
  if (networkOf(marked).shares.shared.layout.size === 0)
    throw wrong(
      own.size > 0 ? "--personal" : "--freeze",
      "to leave a layer that is trained and sent",
      own.size > 0 ? personal! : freeze!,
    );
  return marked;
}

function chosen(
  flag: string,
  words: string | undefined,
  learners: readonly { readonly index: number; readonly type: string }[],
): ReadonlySet<number> {
  if (words === undefined) return new Set();
  const indices = learners.map(({ index }) => index);
  const [, how, digits] = /^(all but last|first|last) (\d+)$/.exec(words) ?? [];
  if (how === undefined) {
    const typed = learners.filter(({ type }) => type === words);
    if (!Object.hasOwn(LAYER_KINDS, words)) throw wrong(flag, WORDS, words);
    if (typed.length === 0) throw wrong(flag, "a type that the model has", words);
    return new Set(typed.map(({ index }) => index));
  }
  const count = Number(digits);
  if (count < 1 || count >= indices.length)
    throw wrong(flag, `1 to ${indices.length - 1} of the model's layers that learn`, words);
  const from = how === "last" ? indices.length - count : 0;
  const to = { "all but last": indices.length - count, first: count, last: indices.length }[how];
  return new Set(indices.slice(from, to));
}

const wrong = (flag: string, expected: string, got: string): ConfigError =>
  new ConfigError("usage", `"${flag}" expected ${expected}, got "${got}"`);
