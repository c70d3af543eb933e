import type { Dataset } from "../runtime/data/dataset.js";
import { numbered } from "../runtime/data/labels.js";
import { scaleRemark } from "../runtime/data/scale.js";
import type { ModelCard } from "../runtime/models/model.js";
import type { View } from "./view.js";

/** Says what a person should know of data that are taken as they are. */
export function remarkOn(
  view: View,
  source: string,
  dataset: Dataset,
  { normalises }: { readonly normalises: boolean },
): void {
  for (const sentence of [
    emptyClasses(source, dataset),
    normalises ? undefined : scaleRemark(dataset),
  ])
    if (sentence !== undefined) view.say("notice", { sentence }, `${sentence}.`);
}

/** Says at once what a person would learn only when clients with texts come. */
export function remarkOnModel(view: View, { description, vocabulary }: ModelCard): void {
  if (vocabulary !== undefined || !description.layers.some(({ type }) => type === "embedding"))
    return;
  const sentence =
    'The model has no vocabulary, so clients with texts cannot take part, each of which would number its characters otherwise: --test with public texts gives it one, or a card with "vocabulary" (docs/models.md)';
  view.say("notice", { sentence }, `${sentence}.`);
}

/** Classes that are only counted, and of which there is no example: labels may begin at 1. */
function emptyClasses(source: string, { labels, classes }: Dataset): string | undefined {
  if (!numbered(classes)) return undefined;
  const used = new Set(labels);
  const empty = classes.filter((_, label) => !used.has(label));
  if (empty.length === 0) return undefined;
  const named = empty.slice(0, 5).join(", ") + (empty.length > 5 ? ", ..." : "");
  const who = empty.length === 1 ? `Class ${named}` : `Classes ${named}`;
  return `${who} of ${classes.length} in ${source} ${empty.length === 1 ? "has" : "have"} no example`;
}
