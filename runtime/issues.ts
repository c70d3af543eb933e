import type * as v from "valibot";

// What valibot found wrong, for sentences.

/** Where it is: `layers[2].units`. */
export const placeOf = (label: string, { path }: v.BaseIssue<unknown>): string =>
  (path ?? []).reduce<string>(
    (text, { key }) => (typeof key === "number" ? `${text}[${key}]` : `${text}.${String(key)}`),
    label,
  );

/** A value as JSON, of which a long one is cut off. */
export function shown(value: unknown): string {
  let text: string;
  try {
    text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? "nothing");
  } catch {
    // Its nesting is deeper than the stack.
    text = Array.isArray(value) ? "lists in lists" : "objects in objects";
  }
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
