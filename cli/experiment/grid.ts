import { basename, extname } from "node:path";
import { requirePair } from "../../aggregator/run/codec-pairs.js";
import { algorithmNamed, algorithmSettings } from "../../runtime/algorithms/built-in.js";
import { codecNamed, codecSettings } from "../../runtime/codecs/built-in.js";
import { ConfigError } from "../../runtime/errors.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import { isAlgorithmFile } from "../algorithm.js";
import { checkSettings, type SettingsOf } from "../settings.js";
import type { ExperimentFile, SettingValue } from "./file.js";

/** One run of an experiment. */
export interface Cell {
  /**
   * Where it stands in the grid: each of its settings with one value, as tables show it.
   */
  readonly at: Readonly<Record<string, SettingValue>>;
  /** What its method is called: its variant's name, else its algorithm's, or that of its file. */
  readonly algorithm: string;
  /** A folder's name: readable, and another one as soon as any setting of the run changes. */
  readonly name: string;
  /** What `fedflat simulate` is given, under the names of its flags. */
  readonly given: Readonly<Record<string, unknown>>;
  /** The same, checked. */
  readonly settings: SettingsOf<"simulate">;
}

/**
 * Settings that the experiment itself decides for each run, or that change nothing in its outcome.
 */
const NOT_OF_THE_RUN = ["run", "resume", "json", "workers"];

/**
 * One cell for each combination of the grid's values, in the order of the file, the first setting
 * changing slowest.
 * @throws ConfigError `usage` for a setting that `simulate` does not have or a value it does not
 * take, and for a setting that stands in two places.
 */
export function cellsOf(file: ExperimentFile, source: string): Cell[] {
  const { variants = {} } = file;
  const refuse = (key: string, expected: string, got: string): never => {
    throw new ConfigError("usage", `"${key}" in "${source}" expected ${expected}, got ${got}`);
  };
  const varied = Object.values(variants).flatMap(Object.keys);
  for (const key of [...Object.keys(file.settings), ...varied, ...Object.keys(file.grid)])
    if (NOT_OF_THE_RUN.includes(key)) refuse(key, "to be left to the experiment", "a value");
  for (const key of Object.keys(file.grid)) {
    if (key in file.settings) refuse(key, "to stand in settings or in grid", "both");
    if (key === "set") refuse(`grid.${key}`, "to be set by algorithm", "a list");
  }
  for (const key of ["variant", ...varied])
    if (key in file.grid) refuse(key, "to stand in variants or in grid", "both");
  const namesIn = (key: string): string[] =>
    [
      file.grid[key] ?? file.settings[key] ?? [],
      ...Object.values(variants).map((one) => one[key] ?? []),
    ]
      .flat()
      .map(String);
  const [algorithms, codecs] = [namesIn("algorithm"), namesIn("codec")];
  const named = [...algorithms, ...codecs];
  for (const name of Object.keys(file.set))
    if (!named.includes(name))
      refuse(`set.${name}`, `one of the algorithms and codecs ${named.join(", ")}`, `"${name}"`);
  let places: Readonly<Record<string, SettingValue>>[] = [{}];
  if (file.variants) places = Object.keys(variants).map((variant) => ({ variant }));
  for (const [key, values] of Object.entries(file.grid))
    places = places.flatMap((at) => values.map((value) => ({ ...at, [key]: value })));
  for (const [key, given] of (file.only ?? []).flatMap(Object.entries<SettingValue>))
    if (!file.grid[key]?.includes(given))
      refuse(
        "only",
        `values of ${Object.keys(file.grid).join(", ")} in the grid`,
        `"${key}" ${given}`,
      );
  const called = namesOf(algorithms);
  const cells = places.filter(isWanted(file)).map((place): Cell => {
    const { variant, ...rest } = place;
    const base: Readonly<Record<string, unknown>> = {
      ...file.settings,
      ...variants[String(variant)],
      ...rest,
    };
    const own = file.set[String(base["algorithm"])];
    const codecs = file.set[String(base["codec"])];
    const given = { ...base, ...(own && { set: own }), ...(codecs && { "codec-set": codecs }) };
    const settings = checkSettings("simulate", {}, given, source);
    const algorithm = variant === undefined ? called(settings.algorithm) : String(variant);
    const at = "algorithm" in place ? { ...place, algorithm } : place;
    return { at, algorithm, name: nameOf(at, settings), given, settings };
  });
  // Of two axes, the pairs that no run would take are left out.
  return "codec" in file.grid && "algorithm" in file.grid ? cells.filter(isPair) : cells;
}

const isWanted =
  ({ only }: ExperimentFile) =>
  (place: Readonly<Record<string, SettingValue>>): boolean =>
    only === undefined ||
    only.some((one) => Object.entries(one).every(([key, value]) => place[key] === value));

/** Whether a run takes this algorithm with this codec; of one's own that shows when it starts. */
function isPair({ settings }: Cell): boolean {
  if (isAlgorithmFile(settings.algorithm)) return true;
  const algorithm = algorithmNamed(settings.algorithm);
  const codec = codecNamed(settings.codec);
  try {
    requirePair(
      algorithm,
      algorithmSettings(algorithm, settings.set),
      codec,
      codecSettings(codec, settings.codecSet),
    );
    return true;
  } catch (error) {
    if (error instanceof ConfigError && error.code === "codec-pair") return false;
    throw error;
  }
}

/**
 * What each of these algorithms is called: one of the user's own by its file, without the folder
 * where no other file has that name.
 */
export function namesOf(algorithms: readonly string[]): (algorithm: string) => string {
  const short = (algorithm: string) =>
    isAlgorithmFile(algorithm) ? basename(algorithm, extname(algorithm)) : algorithm;
  return (algorithm) => {
    const same = algorithms.filter((other) => short(other) === short(algorithm));
    return same.length > 1 ? algorithm : short(algorithm);
  };
}

function nameOf(
  at: Readonly<Record<string, SettingValue>>,
  settings: SettingsOf<"simulate">,
): string {
  const outcome = Object.entries(settings)
    .filter(([key]) => !NOT_OF_THE_RUN.includes(key))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const hash = sha256Hex(JSON.stringify(outcome)).slice(0, 8);
  const words = Object.entries(at).map(([key, value]) =>
    ["algorithm", "variant"].includes(key) ? String(value) : `${key}-${value}`,
  );
  return [...words, hash].join("_").replace(/[^\w.+-]+/g, "-");
}
