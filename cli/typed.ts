import { runSettings } from "../aggregator/settings.js";
import { ConfigError, type FedflatError, ModelError } from "../runtime/errors.js";
import { flagsOf, type CommandName } from "./flags.js";

/** Codes of settings that do not go together, or are no settings: the command line was wrong. */
const USAGE: ReadonlySet<string> = new Set([
  "usage",
  "settings",
  "client-state",
  "nothing-shared",
  "codec-pair",
  "normalisation",
  "threshold",
  "algorithm-settings",
  "codec-settings",
  "server-optimizer",
  "clients",
  "no-authentication",
  "admin-token",
  "trusted-proxy",
]);

/** Whether an error says that the command line was wrong. */
export const isUsage = ({ code }: FedflatError): boolean => USAGE.has(code);

/** The flags that take numbers by name, by the code of an error that is about such a number. */
const NAMED_NUMBERS: Readonly<Record<string, string>> = {
  "algorithm-settings": "--set",
  "codec-settings": "--codec-set",
};

/** The same, by the code of an error that may be about a setting of the run too. */
const PERHAPS_NAMED: Readonly<Record<string, string>> = {
  "codec-pair": "--set",
  settings: "--aggregate-set",
};

/** Settings whose flags have other keys. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  algorithmSettings: "--set",
  codecSettings: "--codec-set",
  frozen: "--freeze",
};

/**
 * What an error says of the run's settings, in the flags that were typed: `"dpClip" expected ...
 * beside dpNoise` becomes `"--dp-clip" expected ... beside --dp-noise`.
 */
export function asTyped(error: unknown, command: CommandName): string | undefined {
  if (!(error instanceof ConfigError || error instanceof ModelError)) return undefined;
  const flags = new Map(Object.entries(ELSEWHERE));
  for (const { key, flag, setting } of flagsOf(command))
    if (!setting.positional) flags.set(key, `--${flag}`);
  const { code, message } = error;
  return message
    .replace(/^"(?:settings\.)?([^"]+)"(?= expected )/, (whole, label: string) => {
      const [name, ...numbers] = label.replace(/ [a-z]/g, (gap) => gap[1].toUpperCase()).split(".");
      const isOwn = name in ELSEWHERE;
      const named = isOwn ? undefined : NAMED_NUMBERS[code];
      const perhaps = name in runSettings ? undefined : PERHAPS_NAMED[code];
      const flag =
        named !== undefined
          ? `${named} ${name}`
          : (flags.get(name) ?? (perhaps && `${perhaps} ${name}`));
      return flag === undefined ? whole : `"${[flag, ...numbers].join(" ")}"`;
    })
    .replace(/(?<!")\b[a-z]+[A-Z]\w*\b|(?<=beside )[a-z]+\b/g, (word) => flags.get(word) ?? word);
}
