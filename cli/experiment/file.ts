import { readFile } from "node:fs/promises";
import { basename, dirname, extname, resolve } from "node:path";
import * as v from "valibot";
import { parse, YAMLParseError } from "yaml";
import { ConfigError } from "../../runtime/errors.js";

/** A value of one of `fedflat simulate`'s settings, under the name of its flag. */
export type SettingValue = string | number | boolean;

/** A number that somebody else published for some cells of the grid, to stand beside ours. */
export interface Published {
  /** Which cells: settings and their values. */
  readonly of: Readonly<Record<string, SettingValue>>;
  /** Percent. */
  readonly accuracy?: number;
  readonly roundsToTarget?: string | number;
  readonly eigenvalue?: number;
  readonly trace?: number;
}

/** An experiment as its file says it. */
export interface ExperimentFile {
  readonly title: string;
  /** Settings of `fedflat simulate` that are the same in all runs. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Settings with the values they take: one run for each combination. Seeds are averaged over. */
  readonly grid: Readonly<Record<string, readonly SettingValue[]>>;
  /** Methods by name, each some settings: an axis of the grid beside the others. */
  readonly variants?: Readonly<Record<string, Readonly<Record<string, SettingValue>>>>;
  /**
   * Of the grid's combinations only those that have all the values of one of these; all of them
   * where there is nothing here.
   */
  readonly only?: readonly Readonly<Record<string, SettingValue>>[];
  /** The algorithms' and the codecs' own numbers, by name. */
  readonly set: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /**
   * What models are judged by (shares in percent): the first round that reaches it is reported.
   */
  readonly target?: number;
  /**
   * Settings of `fedflat flatness` with which each final model is measured; not measured where
   * absent.
   */
  readonly flatness?: Readonly<Record<string, unknown>>;
  readonly published: readonly Published[];
  /** Whose numbers those are. */
  readonly source?: string;
  /** Paragraphs of Markdown for the results page. */
  readonly remarks: readonly string[];
}

const value = v.union(
  [v.string(), v.pipe(v.number(), v.finite()), v.boolean()],
  "a text, a number or true or false",
);
const percent = v.pipe(
  v.number("a number of percent"),
  v.minValue(0, "a number of percent"),
  v.maxValue(100, "a number of percent"),
);
const number = v.pipe(v.number("a number"), v.finite("a number"));
const settings = v.record(v.string(), v.unknown(), "an object of settings");

const schema = v.strictObject(
  {
    title: v.optional(v.string("a text")),
    settings: v.optional(settings, {}),
    grid: v.record(
      v.string(),
      v.pipe(
        v.array(value, "a list of values"),
        v.minLength(1, "at least one value"),
        v.check((values) => new Set(values).size === values.length, "values that differ"),
      ),
      "an object with lists of values",
    ),
    variants: v.optional(
      v.record(
        v.string(),
        v.record(v.string(), value, "an object of settings"),
        "an object with the settings of each method",
      ),
    ),
    only: v.optional(
      v.pipe(
        v.array(v.record(v.string(), value), "a list of values by setting"),
        v.minLength(1, "at least one combination"),
      ),
    ),
    set: v.optional(
      v.record(
        v.string(),
        v.record(v.string(), number, "an object of numbers"),
        "an object with the numbers of each algorithm or codec",
      ),
      {},
    ),
    target: v.optional(number),
    flatness: v.optional(settings),
    published: v.optional(
      v.array(
        v.strictObject({
          of: v.record(v.string(), value),
          accuracy: v.optional(percent),
          roundsToTarget: v.optional(v.union([v.string(), v.number()])),
          eigenvalue: v.optional(number),
          trace: v.optional(number),
        }),
        "a list",
      ),
      [],
    ),
    source: v.optional(v.string("a text")),
    remarks: v.optional(v.array(v.string("a text"), "a list of paragraphs"), []),
  },
  "an object with title, settings, variants, grid, only, set, target, flatness, published, source, remarks",
);

/**
 * Reads an experiment. Paths in its settings that begin with a dot are taken from the file's own
 * folder.
 * @throws ConfigError `usage` that names the file, the key, what it expects and what it got.
 */
export async function readExperiment(path: string): Promise<ExperimentFile> {
  const text = await readFile(path, "utf8").catch(() => {
    throw new ConfigError("usage", `"experiment" expected a file that can be read, got "${path}"`);
  });
  let content: unknown;
  try {
    // JSON is YAML.
    content = parse(text);
  } catch (error) {
    const [reason] = error instanceof YAMLParseError ? error.message.split(":\n") : ["other"];
    throw new ConfigError("usage", `"${path}" expected JSON or YAML, got ${reason}`);
  }
  const checked = v.safeParse(schema, content, { abortEarly: true });
  if (!checked.success) {
    const [issue] = checked.issues;
    const keys = (issue.path ?? []).map(({ key }) => String(key));
    const unknown = issue.type === "strict_object" && keys.length > 0;
    throw new ConfigError(
      "usage",
      `"${keys.join(".") || "experiment"}" in "${path}" expected ${
        unknown ? (issue.expected === "never" ? "no such key" : "to be there") : issue.message
      }, got ${JSON.stringify(issue.input)?.slice(0, 60) ?? "nothing"}`,
    );
  }
  const folder = dirname(path);
  const located = (value: unknown) =>
    typeof value === "string" && /^\.\.?\//.test(value) ? resolve(folder, value) : value;
  const { title, settings, variants, grid, only, set, ...rest } = checked.output;
  const locatedIn = <T>(given: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(given).map(([key, one]) => [key, located(one) as T]));
  return {
    ...rest,
    ...(variants && {
      variants: Object.fromEntries(
        Object.entries(variants).map(([name, one]) => [name, locatedIn(one)]),
      ),
    }),
    ...(only && { only: only.map(locatedIn) }),
    set: Object.fromEntries(
      Object.entries(set).map(([name, numbers]) => [String(located(name)), numbers]),
    ),
    title: title ?? basename(path, extname(path)),
    settings: locatedIn(settings),
    grid: Object.fromEntries(
      Object.entries(grid).map(([key, values]) => [
        key,
        values.map((value) => located(value) as SettingValue),
      ]),
    ),
  };
}
