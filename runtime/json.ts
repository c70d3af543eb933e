import * as v from "valibot";

/** What a JSON text says; undefined where it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The same as the schema types it; undefined where it is no such text. */
export function decodeJson<S extends v.GenericSchema>(
  schema: S,
  text: string,
): v.InferOutput<S> | undefined {
  const { success, output } = v.safeParse(schema, parseJson(text));
  return success ? output : undefined;
}
