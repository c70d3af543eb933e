import * as v from "valibot";
import { ModelError } from "../errors.js";
import { placeOf, shown } from "../issues.js";
import { activation, relu } from "./layers/activation.js";
import { add } from "./layers/add.js";
import { multiHeadAttention } from "./layers/attention.js";
import { avgPool } from "./layers/avg-pool.js";
import { batchNorm } from "./layers/batch-norm.js";
import { concat } from "./layers/concat.js";
import { conv1dTranspose, conv2dTranspose } from "./layers/conv-transpose.js";
import { conv1d } from "./layers/conv1d.js";
import { conv2d } from "./layers/conv2d.js";
import { dense } from "./layers/dense.js";
import { depthwiseConv2d } from "./layers/depthwise-conv2d.js";
import { dropout } from "./layers/dropout.js";
import { embedding, positionEmbedding } from "./layers/embedding.js";
import { exampleShape, listOf, trueOrFalse } from "./layers/fields.js";
import { globalAvgPool } from "./layers/global-avg-pool.js";
import { groupNorm, layerNorm } from "./layers/group-norm.js";
import { gru } from "./layers/gru.js";
import { lstm } from "./layers/lstm.js";
import { globalMaxPool, maxPool } from "./layers/max-pool.js";
import { multiply } from "./layers/multiply.js";
import { flatten, reshape } from "./layers/reshape.js";
import { repeat, upsample } from "./layers/upsample.js";
import { LOSS_KINDS } from "./losses/built-in.js";

/** Every kind of layer, by the name that stands in a description's `type`. */
export const LAYER_KINDS = {
  dense,
  conv1d,
  conv2d,
  depthwiseConv2d,
  maxPool,
  avgPool,
  globalAvgPool,
  flatten,
  groupNorm,
  relu,
  dropout,
  activation,
  conv1dTranspose,
  conv2dTranspose,
  add,
  multiply,
  concat,
  upsample,
  repeat,
  reshape,
  globalMaxPool,
  embedding,
  positionEmbedding,
  layerNorm,
  batchNorm,
  gru,
  lstm,
  multiHeadAttention,
} as const;

type LayerType = keyof typeof LAYER_KINDS;

const NAME = "letters, digits and _, beginning with a letter";
const name = v.pipe(
  v.string(NAME),
  v.regex(/^[A-Za-z][A-Za-z0-9_]{0,63}$/, NAME),
  v.check((name) => name !== "input", `a name other than "input"`),
);

/** What every layer may say in addition to its own fields. */
const COMMON = {
  name: v.optional(name),
  inputs: v.optional(listOf(v.string("names of layers"), "names of layers")),
  tap: trueOrFalse,
  frozen: trueOrFalse,
  personal: trueOrFalse,
};

/**
 * Names of other layers to read, a name to be read by, whether MAN penalises the output, and whether
 * the parameters stay as they are, or learn without being sent.
 */
type Common = v.InferOutput<v.StrictObjectSchema<typeof COMMON, undefined>>;

/** One layer as data: `{ type: "conv2d", filters: 16, kernelSize: 5, activation: "relu" }`. */
export type LayerDescription = {
  [Type in LayerType]: v.InferOutput<(typeof LAYER_KINDS)[Type]["schema"]> & Common;
}[LayerType];

/** The task's loss as data: `{ type: "meanSquaredError", target: "input" }`. */
export type LossDescription = {
  [Type in keyof typeof LOSS_KINDS]: v.InferOutput<(typeof LOSS_KINDS)[Type]["schema"]>;
}[keyof typeof LOSS_KINDS];

/**
 * A model as data. Layers are computed in their order, each from the one before it or from those it
 * names; the last one gives the output: logits, one per class, or what the loss asks for.
 */
export interface ModelDescription {
  /** Shape of one example: [features], [length] of tokens, [length, channels] or [height, width, channels]. */
  readonly input: readonly number[];
  /** Softmax cross-entropy where not given. */
  readonly loss?: LossDescription;
  readonly layers: readonly LayerDescription[];
}

/** More layers than this are refused: a description comes from outside. */
const MAX_LAYERS = 1000;

/**
 * Reads the fields of a description (an object parsed from JSON); whether the layers fit together is `networkOf`'s to say.
 * @throws ModelError `description` that names layer, type and field.
 */
export function parseDescription(value: unknown): ModelDescription {
  const { input, loss, layers } = check(
    v.strictObject(
      {
        input: exampleShape,
        loss: v.optional(v.unknown()),
        layers: v.pipe(
          v.array(v.unknown(), "a list of layers"),
          v.minLength(1, "at least one layer"),
          v.maxLength(MAX_LAYERS, `at most ${MAX_LAYERS} layers`),
        ),
      },
      "an object with the fields input and layers",
    ),
    value,
    "model",
  );
  return {
    input,
    ...(loss === undefined ? {} : { loss: parseLoss(loss) }),
    layers: layers.map(parseLayer),
  };
}

/** Reads a loss. @throws ModelError `description` */
export function parseLoss(value: unknown): LossDescription {
  const type = typeIn(LOSS_KINDS, value, "loss");
  const schema: v.GenericSchema<unknown, LossDescription> = LOSS_KINDS[type].schema;
  return check(schema, value, "loss");
}

/** The name that a value gives of one of these kinds. */
function typeIn<Kinds extends object>(
  kinds: Kinds,
  value: unknown,
  label: string,
): keyof Kinds & string {
  const names = Object.keys(kinds) as (keyof Kinds & string)[];
  const type = v.picklist(names, `one of ${names.join(", ")}`);
  return check(v.object({ type }, "an object with the field type"), value, label).type;
}

/** A kind's own schema with the fields that every layer has. */
const schemas = Object.fromEntries(
  Object.entries(LAYER_KINDS).map(([type, { schema }]) => [
    type,
    v.strictObject({ ...schema.entries, ...COMMON }),
  ]),
) as unknown as Record<LayerType, v.GenericSchema<unknown, LayerDescription>>;

function parseLayer(value: unknown, index: number): LayerDescription {
  const type = typeIn(LAYER_KINDS, value, `layers[${index}]`);
  return check(schemas[type], value, `layers[${index}].${type}`);
}

/**
 * The value as the schema types it. @throws ModelError `description`: `"label.field" expected X,
 * got Y`.
 */
export function check<Output>(
  schema: v.GenericSchema<unknown, Output>,
  value: unknown,
  label: string,
): Output {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new ModelError(
    "description",
    `"${placeOf(label, issue)}" expected ${expectation(schema, issue)}, got ${shown(issue.input)}`,
  );
}

/**
 * What the schema wanted at the issue's place; valibot tells of a missing or unknown key in its own
 * words only.
 */
function expectation(schema: v.GenericSchema, issue: v.BaseIssue<unknown>): string {
  const { path = [] } = issue;
  const entries = (schema as { entries?: Record<string, v.GenericSchema> }).entries;
  if (entries === undefined || path.length !== 1 || !/object$/.test(issue.type))
    return issue.message;
  const key = String(path[0]!.key);
  if (!Object.hasOwn(entries, key)) return `one of the fields ${Object.keys(entries).join(", ")}`;
  return v.safeParse(entries[key], undefined).issues?.[0].message ?? issue.message;
}
