import { readFileSync } from "node:fs";
import { Option, type Command } from "commander";
import * as v from "valibot";
import { ConfigError } from "../runtime/errors.js";
import { flagsOf, type CommandName, type Table } from "./flags.js";
import { parseJson } from "./json.js";
import type { Kind } from "./kinds.js";

type ValueOf<S, C extends CommandName> =
  S extends Kind<infer T>
    ? S extends { default: unknown } | { required: true } | { defaultIn: { [K in C]: unknown } }
      ? T
      : T | undefined
    : never;

/** The settings of one command, read and checked. */
export type SettingsOf<C extends CommandName> = {
  readonly [K in keyof Table as C extends Table[K]["commands"][number] ? K : never]: ValueOf<
    Table[K],
    C
  >;
};

/**
 * What a parsed commander command was given: its options, and its arguments under the names of
 * their settings.
 */
export function givenTo(command: Command): Record<string, unknown> {
  const names = command.registeredArguments.map((argument) => argument.name());
  return {
    ...command.opts(),
    ...Object.fromEntries(names.map((name, i) => [name, command.args[i]])),
  };
}

/** Gives a commander command its options, and `--config`. */
export function addOptions(command: Command, name: CommandName): void {
  for (const { key, flag, setting, heading, initial } of flagsOf(name)) {
    const { placeholder, help, repeatable, required, scale = 1 } = setting;
    if (setting.positional) {
      command.argument(`<${flag}>`, help);
      continue;
    }
    const note = required
      ? " (required)"
      : typeof initial === "number"
        ? ` (default ${initial / scale})`
        : typeof initial === "string"
          ? ` (default ${initial})`
          : "";
    const option = new Option(
      placeholder === undefined ? `--${flag}` : `--${flag} <${placeholder}>`,
      help + note,
    ).helpGroup(heading);
    option.attributeName = () => key;
    if (repeatable) option.argParser((value, previous: string[] = []) => [...previous, value]);
    command.addOption(option);
  }
  command.addOption(
    new Option(
      "--config <file>",
      "JSON file with settings under the names of the flags; flags go first",
    ).helpGroup("Settings:"),
  );
}

/**
 * The settings of a command: from the flags, else from the config file that `--config` names, else
 * the defaults.
 * @throws ConfigError `usage` that names the flag (or the file's key), what it expects and what it
 * got.
 */
export function readSettings<C extends CommandName>(
  command: C,
  flags: Readonly<Record<string, unknown>>,
): SettingsOf<C> {
  const file = flags.config;
  return typeof file === "string"
    ? checkSettings(command, flags, readConfig(file), file)
    : checkSettings(command, flags);
}

/**
 * The same where the settings beside the flags have been read already; `source` is what errors call
 * them.
 * @throws ConfigError `usage`
 */
export function checkSettings<C extends CommandName>(
  command: C,
  flags: Readonly<Record<string, unknown>>,
  given: Readonly<Record<string, unknown>> = {},
  source = "settings",
): SettingsOf<C> {
  const rows = flagsOf(command);
  const known = rows.map(({ flag }) => flag);
  for (const key of Object.keys(given))
    if (!known.includes(key))
      throw new ConfigError(
        "usage",
        `"${source}" expected settings of ${command}, got "${key}" (did you mean "${nearest(key, known)}"?)`,
      );
  const result: Record<string, unknown> = {};
  for (const { key, flag, setting, initial } of rows) {
    const fromFlag = flags[key] !== undefined;
    const value = fromFlag ? flags[key] : given[flag];
    if (value === undefined && !setting.required) {
      result[key] = initial;
      continue;
    }
    const checked = v.safeParse(setting.schema, value);
    if (!checked.success) {
      const typed = setting.positional ? flag : `--${flag}`;
      const label = fromFlag || value === undefined ? typed : `${flag}" in "${source}`;
      throw new ConfigError("usage", `"${label}" expected ${setting.expected}, got ${show(value)}`);
    }
    result[key] = checked.output;
  }
  return result as SettingsOf<C>;
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return value.map(show).join(" ");
  return JSON.stringify(value);
}

function readConfig(file: string): Readonly<Record<string, unknown>> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    throw new ConfigError("usage", `"--config" expected a file that can be read, got "${file}"`);
  }
  const config = parseJson(
    text,
    (got) => new ConfigError("usage", `"${file}" expected JSON, got ${got}`),
  );
  if (typeof config !== "object" || config === null || Array.isArray(config))
    throw new ConfigError(
      "usage",
      `"${file}" expected an object of settings, got ${JSON.stringify(config)?.slice(0, 40)}`,
    );
  return config as Record<string, unknown>;
}

/** The name with the fewest letters to insert, delete or change (Levenshtein's distance). */
function nearest(name: string, names: readonly string[]): string {
  const distance = (a: string, b: string) => {
    let row = Array.from({ length: b.length + 1 }, (_, j) => j);
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let j = 1; j <= b.length; j++)
        next.push(
          Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)),
        );
      row = next;
    }
    return row[b.length];
  };
  return names.reduce((best, other) =>
    distance(name, other) < distance(name, best) ? other : best,
  );
}
