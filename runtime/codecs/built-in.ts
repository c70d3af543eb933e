import { ModelError } from "../errors.js";
import { bfloat16 } from "./bfloat16.js";
import type { Codec } from "./codec.js";
import { float16 } from "./float16.js";
import { float32 } from "./float32.js";
import { int8 } from "./int8.js";
import { randk } from "./randk.js";
import { sign } from "./sign.js";
import { topkInt8 } from "./topk-int8.js";
import { topk } from "./topk.js";

/** The codecs that come with the package, by name. */
export const CODECS: Readonly<Record<string, Codec>> = {
  float32,
  float16,
  bfloat16,
  int8,
  topk,
  "topk-int8": topkInt8,
  randk,
  sign,
};

/** What a run's updates are sent in where it names no other. */
export const DEFAULT_CODEC = float32.name;

/** @throws ModelError `codec` where none has the name. */
export function codecNamed(name: string): Codec {
  if (Object.hasOwn(CODECS, name)) return CODECS[name];
  throw new ModelError(
    "codec",
    `"codec" expected ${Object.keys(CODECS).join(" or ")}, got "${name}"`,
  );
}

/**
 * The codec's numbers, with its defaults where nothing is given.
 * @throws ModelError `codec-settings` for a name that it does not have.
 */
export function codecSettings(
  { name, defaults }: Codec,
  given: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  for (const key of Object.keys(given))
    if (!Object.hasOwn(defaults, key))
      throw new ModelError(
        "codec-settings",
        `"${key}" expected ${Object.keys(defaults).join(" or ") || "no setting"} of ${name}, got "${key}"`,
      );
  return { ...defaults, ...given };
}
