import * as v from "valibot";
import { ModelError } from "../errors.js";
import { avgPool } from "./layers/avg-pool.js";
import { conv1d } from "./layers/conv1d.js";
import { conv2d } from "./layers/conv2d.js";
import { dense } from "./layers/dense.js";
import { depthwiseConv2d } from "./layers/depthwise-conv2d.js";
import { dropout } from "./layers/dropout.js";
import { positiveInteger } from "./layers/fields.js";
import { flatten } from "./layers/flatten.js";
import { globalAvgPool } from "./layers/global-avg-pool.js";
import { groupNorm } from "./layers/group-norm.js";
import { maxPool } from "./layers/max-pool.js";
import { relu } from "./layers/relu.js";

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
} as const;

type LayerType = keyof typeof LAYER_KINDS;

/** One layer as data: `{ type: "conv2d", filters: 16, kernelSize: 5, activation: "relu" }`. */
export type LayerDescription = {
  [Type in LayerType]: v.InferOutput<(typeof LAYER_KINDS)[Type]["schema"]>;
}[LayerType];

/** A model as data. The last layer gives the logits, one per class. */
export interface ModelDescription {
  /** Shape of one example: [features], [length, channels] or [height, width, channels]. */
  readonly input: readonly number[];
  readonly layers: readonly LayerDescription[];
}

/** More layers than this are refused: a description comes from outside. */
const MAX_LAYERS = 1000;

/**
 * Reads the fields of a description (an object parsed from JSON); whether the layers fit together is `networkOf`'s to say.
 * @throws ModelError `description` that names layer, type and field.
 */
export function parseDescription(value: unknown): ModelDescription {
  const { input, layers } = check(
    v.strictObject(
      {
        input: v.pipe(
          v.array(positiveInteger, "one to three positive integers"),
          v.minLength(1, "one to three positive integers"),
          v.maxLength(3, "one to three positive integers"),
        ),
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
  return { input, layers: layers.map(parseLayer) };
}

function parseLayer(value: unknown, index: number): LayerDescription {
  const { type } = check(
    v.looseObject(
      {
        type: v.picklist(
          Object.keys(LAYER_KINDS) as LayerType[],
          `one of ${Object.keys(LAYER_KINDS).join(", ")}`,
        ),
      },
      "an object with the field type",
    ),
    value,
    `layers[${index}]`,
  );
  const schema: v.GenericSchema<unknown, LayerDescription> = LAYER_KINDS[type].schema;
  return check(schema, value, `layers[${index}].${type}`);
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
  const path = (issue.path ?? []).map(({ key }) => key);
  const where = path.reduce<string>(
    (text, key) => (typeof key === "number" ? `${text}[${key}]` : `${text}.${String(key)}`),
    label,
  );
  throw new ModelError(
    "description",
    `"${where}" expected ${expectation(schema, issue, path)}, got ${shown(issue.input)}`,
  );
}

/**
 * What the schema wanted at the issue's place; valibot tells of a missing or unknown key in its own
 * words only.
 */
function expectation(
  schema: v.GenericSchema,
  issue: v.BaseIssue<unknown>,
  path: readonly unknown[],
): string {
  const entries = (schema as { entries?: Record<string, v.GenericSchema> }).entries;
  if (entries === undefined || path.length !== 1 || !/_object$/.test(issue.type))
    return issue.message;
  const key = String(path[0]);
  if (!Object.hasOwn(entries, key)) return `one of the fields ${Object.keys(entries).join(", ")}`;
  return v.safeParse(entries[key], undefined).issues?.[0].message ?? issue.message;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
