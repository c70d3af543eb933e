import { ModelError } from "../errors.js";
import type { Codec } from "./codec.js";
import { float32 } from "./float32.js";

/** The codecs that come with the package, by name. */
export const CODECS: Readonly<Record<string, Codec>> = { float32 };

/** What a run's updates are sent in. */
export const DEFAULT_CODEC = float32.name;

/** @throws ModelError `codec` where none has the name. */
export function codecNamed(name: string): Codec {
  if (Object.hasOwn(CODECS, name)) return CODECS[name];
  throw new ModelError(
    "codec",
    `"codec" expected ${Object.keys(CODECS).join(" or ")}, got "${name}"`,
  );
}
