import * as v from "valibot";
import { ProtocolError } from "../errors.js";
import { placeOf, shown } from "../issues.js";
import { parseJson } from "../json.js";
import { assignment } from "./fields.js";
import { printable } from "./printable.js";

/**
 * Control messages as text: docs/protocol.md. A text frame holds one message as JSON. Unknown fields
 * are dropped, so that either end can be newer than the other. There is a table of messages for each
 * direction: client-messages.ts and server-messages.ts.
 */

/** The protocol's version that this code speaks. */
export const PROTOCOL = 1;

/** The longest text frame, in bytes of UTF-8. */
export const MAX_TEXT_BYTES = 64 * 1024;

type Table = Readonly<Record<string, v.GenericSchema<unknown, { readonly type: string }>>>;
export type Outgoing<T extends Table> = {
  [K in keyof T]: v.InferInput<T[K]>;
}[keyof T];
export type Incoming<T extends Table> = {
  [K in keyof T]: v.InferOutput<T[K]>;
}[keyof T];

/** The message as the text of one frame. @throws ProtocolError `too-large` above 64 KiB. */
export function encode<M extends { readonly type: string }>(message: M): string {
  const encoded = JSON.stringify(message);
  if (longerThan(encoded, MAX_TEXT_BYTES))
    throw new ProtocolError(
      "too-large",
      `"${message.type}" expected at most ${MAX_TEXT_BYTES} bytes, got more`,
    );
  return encoded;
}

/**
 * A decoded message, or what is wrong with the frame: to be answered with `error` while the
 * connection stays open.
 */
export type Decoded<M> =
  | { readonly ok: true; readonly message: M }
  | {
      readonly ok: false;
      readonly error: ProtocolError;
      /** The assignment that the frame is about, where it names one: for the answer's own field. */
      readonly assignment?: string;
    };

/**
 * Reads a text frame. Never throws; codes: `too-large`, `not-json`, `not-a-message`, `unknown-type`,
 * `bad-field`.
 */
export function decode<T extends Table>(table: T, text: string): Decoded<Incoming<T>> {
  const bad = (code: string, message: string) => ({
    ok: false as const,
    error: new ProtocolError(code, message),
  });
  if (longerThan(text, MAX_TEXT_BYTES))
    return bad("too-large", `"text frame" expected at most ${MAX_TEXT_BYTES} bytes, got more`);
  const value = parseJson(text);
  if (value === undefined) return bad("not-json", `"text frame" expected JSON, got ${told(text)}`);
  const named = v.safeParse(v.object({ type: v.string() }), value);
  if (!named.success)
    return bad("not-a-message", `"text frame" expected an object with a type, got ${told(value)}`);
  const { type } = named.output;
  if (!Object.hasOwn(table, type))
    return bad("unknown-type", `"type" expected a known message, got ${told(type)}`);
  const schema: T[keyof T] = table[type as keyof T];
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return { ok: true, message: result.output };
  const about = v.safeParse(v.object({ assignment }), value);
  return {
    ...bad("bad-field", describe(type, result.issues[0])),
    ...(about.success && about.output),
  };
}

/** The value as the schema types it. @throws ProtocolError of this code, for the first thing wrong */
export function checked<S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  label: string,
  code = label,
): v.InferOutput<S> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  throw new ProtocolError(code, describe(label, result.issues[0]));
}

/** The sentence for the first thing wrong: `"offer.samples" expected at least 1, got 0`. */
export function describe(label: string, issue: v.BaseIssue<unknown>): string {
  const { type, received, input } = issue;
  const got = type === "max_length" ? received : told(input);
  return `"${printable(placeOf(label, issue))}" expected ${expectedIn(issue)}, got ${got}`;
}

const KINDS: Readonly<Record<string, string>> = {
  number: "a number",
  safe_integer: "a whole number",
  string: "text",
  boolean: "true or false",
  array: "a list",
  tuple: "a list",
  record: "an object",
};

/** What would have been right, in words. */
function expectedIn(issue: v.BaseIssue<unknown>): string {
  const { type, expected, message, requirement, input } = issue;
  switch (type) {
    case "min_value":
      return `at least ${String(requirement)}`;
    case "max_value":
      return `at most ${String(requirement)}`;
    case "max_length":
      return `at most ${String(requirement)} ${typeof input === "string" ? "characters" : "entries"}`;
    case "object":
    case "strict_object":
      if (expected === "never") return "no such field";
      return issue.received === "undefined" ? "a value" : "an object";
    case "literal":
    case "picklist":
      return expected!.replace(/^\((.*)\)$/, "$1").replaceAll(" | ", " or ");
    default:
      // Said beside the check, where the kind does not say it.
      return KINDS[type] ?? message;
  }
}

/** What came, as JSON with nothing hidden. */
const told = (value: unknown): string => printable(shown(value));

function longerThan(text: string, bytes: number): boolean {
  if (text.length > bytes) return true;
  if (text.length * 3 <= bytes) return false;
  return new TextEncoder().encode(text).length > bytes;
}
