import { basename, extname } from "node:path";
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
  /** What its algorithm is called: its name, or that of its file. */
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
  const refuse = (key: string, expected: string, got: string): never => {
    throw new ConfigError("usage", `"${key}" in "${source}" expected ${expected}, got ${got}`);
  };
  for (const key of [...Object.keys(file.settings), ...Object.keys(file.grid)])
    if (NOT_OF_THE_RUN.includes(key)) refuse(key, "to be left to the experiment", "a value");
  for (const key of Object.keys(file.grid)) {
    if (key in file.settings) refuse(key, "to stand in settings or in grid", "both");
    if (key === "set") refuse(`grid.${key}`, "to be set by algorithm", "a list");
  }
  const algorithms = [file.grid["algorithm"] ?? file.settings["algorithm"] ?? []]
    .flat()
    .map(String);
  for (const algorithm of Object.keys(file.set))
    if (!algorithms.includes(algorithm))
      refuse(
        `set.${algorithm}`,
        `one of the algorithms ${algorithms.join(", ")}`,
        `"${algorithm}"`,
      );
  let places: Readonly<Record<string, SettingValue>>[] = [{}];
  for (const [key, values] of Object.entries(file.grid))
    places = places.flatMap((at) => values.map((value) => ({ ...at, [key]: value })));
  const called = namesOf(algorithms);
  return places.map((place): Cell => {
    const base = { ...file.settings, ...place };
    const own = file.set[String(base["algorithm"])];
    const given = own ? { ...base, set: own } : base;
    const settings = checkSettings("simulate", {}, given, source);
    const algorithm = called(settings.algorithm);
    const at = "algorithm" in place ? { ...place, algorithm } : place;
    return { at, algorithm, name: nameOf(at, settings), given, settings };
  });
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
    key === "algorithm" ? String(value) : `${key}-${value}`,
  );
  return [...words, hash].join("_").replace(/[^\w.+-]+/g, "-");
}
