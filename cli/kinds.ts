import * as v from "valibot";
import { parseSplit } from "../runtime/data/split.js";
import { BUILT_IN, algorithmNamed } from "../runtime/algorithms/built-in.js";
import { isAlgorithmFile } from "./algorithm.js";
import { attackNamed, ATTACKS } from "./attacks.js";

/**
 * What a value must be: a check that also reads it from text, and how an error and the help name
 * it.
 */
export interface Kind<T> {
  readonly schema: v.GenericSchema<unknown, T>;
  readonly expected: string;
  /** How many of the value's units make one of those in which a person says it. */
  readonly scale?: number;
  /** Stands for the value in the help; a switch has none. */
  readonly placeholder?: string;
  /** The flag may be given more than once. */
  readonly repeatable?: boolean;
}

const numberFromText = v.pipe(
  v.unknown(),
  v.transform((value) =>
    typeof value === "string" && value.trim() !== "" ? Number(value) : value,
  ),
  v.number(),
  v.finite(),
);

const bounds = (least: number, most: number) =>
  most === Infinity ? `from ${least}` : `from ${least} to ${most}`;

export function number(least: number, most = Infinity): Kind<number> {
  return {
    schema: v.pipe(numberFromText, v.minValue(least), v.maxValue(most)),
    expected: `a number ${bounds(least, most)}`,
    placeholder: "number",
  };
}

export function integer(least: number, most = Infinity): Kind<number> {
  return {
    schema: v.pipe(numberFromText, v.safeInteger(), v.minValue(least), v.maxValue(most)),
    expected: `a whole number ${bounds(least, most)}`,
    placeholder: "count",
  };
}

export function text(placeholder: string, pattern = /./, form?: string): Kind<string> {
  return {
    schema: v.pipe(v.string(), v.regex(pattern)),
    expected: form ?? `a ${placeholder}`,
    placeholder,
  };
}

export const socketUrl = text(
  "url",
  /^wss?:\/\/[^/]/,
  "an address such as ws://127.0.0.1:7400 or wss://fl.example.org",
);

/** Text of a form, read into what it says. */
function formed<T>(
  placeholder: string,
  expected: string,
  read: (text: string) => T | undefined,
): Kind<T> {
  return {
    schema: v.pipe(
      v.string(),
      v.rawTransform(({ dataset, addIssue, NEVER }) => {
        const value = read(dataset.value);
        if (value !== undefined) return value;
        addIssue();
        return NEVER;
      }),
    ),
    expected,
    placeholder,
  };
}

export const shape = formed("sizes", "sizes such as 28x28x1", (text) =>
  /^[1-9]\d*(x[1-9]\d*)*$/.test(text) ? text.split("x").map(Number) : undefined,
);

export const columns = formed(
  "columns",
  "names of columns such as temperature,humidity",
  (text) => {
    const names = text.split(",").map((name) => name.trim());
    return names.includes("") ? undefined : names;
  },
);

export const part = formed("k/n", "a part such as 3/10", (text) => {
  const [, k, n] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).map(Number);
  return k >= 1 && k <= n ? { k, n } : undefined;
});

export const labIdentity = formed("seed:index", "an identity such as 1:3", (text) => {
  const [, seed, index] = /^(\d+):(\d+)$/.exec(text) ?? [];
  return seed === undefined ? undefined : { seed, index: Number(index) };
});

/** The text itself, where `check` does not throw. */
const acceptedBy = (
  placeholder: string,
  expected: string,
  check: (text: string) => unknown,
): Kind<string> =>
  formed(placeholder, expected, (text) => {
    try {
      check(text);
      return text;
    } catch {
      return undefined;
    }
  });

export const split = acceptedBy("way", "iid, dirichlet:0.3, shards:2 or groups", parseSplit);

export const updates = formed("kind", "random, replay or train", (kind) =>
  kind === "random" || kind === "replay" || kind === "train" ? kind : undefined,
);

export const attack = formed(
  "name",
  `${ATTACKS.join(", ")}, or one with a strength, such as inner-product:10`,
  (text) => (attackNamed(text) === undefined ? undefined : text),
);

export const algorithm = acceptedBy(
  "name",
  `one of ${BUILT_IN.map(({ name }) => name).join(", ")} (or a client+server pair such as fedsam+fedadam, or a file such as ./mine.js)`,
  (name) => isAlgorithmFile(name) || algorithmNamed(name),
);

/** A text, more than once as a flag; a list in a config file. */
export const texts = (placeholder: string): Kind<readonly string[]> => ({
  schema: v.array(v.string()),
  expected: `a list of ${placeholder}s`,
  placeholder,
  repeatable: true,
});

export const oneOf = <T extends string>(...names: T[]): Kind<T> => ({
  schema: v.picklist(names),
  expected: names.join(" or "),
  placeholder: "word",
});

export const toggle: Kind<boolean> = {
  schema: v.boolean(),
  expected: "true or false",
};

/** `name=number`, more than once as a flag; an object in a config file. */
export function numbers(names?: readonly string[]): Kind<Readonly<Record<string, number>>> {
  const name = names === undefined ? v.string() : v.picklist(names);
  return {
    schema: v.pipe(
      v.unknown(),
      v.transform((value) =>
        Array.isArray(value)
          ? Object.fromEntries(value.map((pair) => String(pair).split(/=(.*)/s, 2)))
          : value,
      ),
      // Which a record would leave out in silence.
      v.check((value) => !Object.hasOwn(Object(value), "__proto__")),
      v.record(name, numberFromText),
    ),
    expected: `name=number${names === undefined ? "" : `, the name one of ${names.join(", ")}`}`,
    placeholder: "name=number",
    repeatable: true,
  };
}

/** What a schema says of itself and its checks. */
interface Described {
  readonly type: string;
  readonly pipe?: readonly Described[];
  readonly options?: readonly string[];
  readonly requirement?: number;
  readonly metadata?: Metadata;
}

/** What a setting of the run says of itself for people. */
interface Metadata {
  readonly unit?: string;
  /** Which commands have a flag for it. */
  readonly scope?: string;
  readonly help?: string;
}

/** A schema and its checks, in order. */
const stepsOf = (schema: Described): readonly Described[] =>
  schema.pipe?.flatMap((step) => (step.pipe === undefined ? [step] : stepsOf(step))) ?? [schema];

export const metadataOf = (schema: v.GenericSchema): Metadata =>
  Object.assign({}, ...stepsOf(schema).map(({ metadata }) => metadata)) as Metadata;

/** A person says seconds and megabytes. */
const SCALES: Readonly<Record<string, number>> = { milliseconds: 1000, bytes: 1e6 };

/** The kind of a value that a schema of the run's settings takes: number, word, switch or text. */
export function kindOf(schema: v.GenericSchema): Kind<unknown> {
  const steps = stepsOf(schema);
  const [{ type, options = [] }] = steps;
  if (type === "boolean") return toggle;
  if (type === "picklist") return oneOf(...options);
  if (type !== "number") return text(type);
  const limit = (check: string) => steps.find((step) => step.type === check)?.requirement;
  const { unit = "" } = metadataOf(schema);
  const scale = SCALES[unit] ?? 1;
  const isWhole = scale === 1 && steps.some((step) => step.type === "safe_integer");
  const [least = -Infinity, most = Infinity, above] = [
    limit("min_value"),
    limit("max_value"),
    limit("gt_value"),
  ];
  const written: v.GenericSchema = v.pipe(
    numberFromText,
    v.transform((value) => (scale === 1 ? value : Math.round(value * scale))),
  );
  return {
    schema: v.pipe(written, schema),
    expected:
      above === undefined
        ? `a ${isWhole ? "whole " : ""}number ${bounds(least / scale, most < Number.MAX_SAFE_INTEGER ? most / scale : Infinity)}`
        : `a number above ${above}, at most ${most}`,
    placeholder: isWhole ? "count" : "number",
    scale,
  };
}
