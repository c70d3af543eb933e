import { ConfigError } from "../../../runtime/errors.js";
import { bulyan } from "./bulyan.js";
import { centredClipping } from "./centred-clipping.js";
import { krum } from "./krum.js";
import { mean } from "./mean.js";
import { median } from "./median.js";
import { multiKrum } from "./multi-krum.js";
import { normClip } from "./norm-clip.js";
import { normFilter } from "./norm-filter.js";
import { rfa } from "./rfa.js";
import type { Rule } from "./rule.js";
import { trimmedMean } from "./trimmed-mean.js";

/** The rules that come with the package, in the order in which help lists them. */
export const RULES: readonly Rule[] = [
  mean,
  centredClipping,
  rfa,
  median,
  trimmedMean,
  multiKrum,
  krum,
  bulyan,
  normClip,
  normFilter,
];

/** @throws ConfigError `settings` where none has the name. */
export function ruleNamed(name: string): Rule {
  const found = RULES.find((rule) => rule.name === name);
  if (found !== undefined) return found;
  throw new ConfigError(
    "settings",
    `"aggregate" expected ${RULES.map(({ name }) => name).join(", ")}, got "${name}"`,
  );
}
