import * as v from "valibot";
import { ProtocolError } from "../errors.js";
import { between, whole } from "./numbers.js";
import { printable } from "./printable.js";

/**
 * Every control message of docs/protocol.md, one table per direction. A text frame holds one
 * message as JSON. Unknown fields are dropped, so that either end can be newer than the other.
 */

/** The protocol's version that this code speaks. */
export const PROTOCOL = 1;

/** The longest text frame, in bytes of UTF-8. */
export const MAX_TEXT_BYTES = 64 * 1024;

/** The most differences that may lead to an assignment's model. */
export const MOST_DIFFERENCES = 3;

/** The most assignments that a `hello` may say to have in hand. */
export const MOST_PENDING = 16;

const hex = (bytes: number) =>
  v.pipe(
    v.string(),
    v.regex(
      new RegExp(`^[0-9a-f]{${2 * bytes}}$`),
      `${2 * bytes} hexadecimal digits in lower case`,
    ),
  );
/** Words of the other end, for people: what they hide is shown. */
const text = (length: number) => v.pipe(v.string(), v.maxLength(length), v.transform(printable));
/** What is only compared, as it is. */
const secret = (length: number) => v.pipe(v.string(), v.maxLength(length));
export const orNull = <S extends v.GenericSchema>(schema: S) => v.nullish(schema, null);

const code = v.pipe(
  v.string(),
  v.regex(
    /^[a-z][a-z0-9-]{0,63}$/,
    "a code of at most 64 lower-case letters, digits and hyphens, a letter first",
  ),
);
const names = v.pipe(v.array(text(64)), v.maxLength(128));
const sha256 = hex(32);
const assignment = hex(16);
const transfer = whole(1, 0xffffffff);
const milliseconds = whole(0, 2 ** 31 - 1);
const blob = v.object({ sha256, bytes: whole(1) });
const difference = v.object({ base: sha256, ...blob.entries });
const counted = v.object({ round: whole(1), assignment, sha256 });

/** A client of a secure round, as the others are told of it. */
const member = v.object({
  key: hex(32),
  cipher: hex(32),
  mask: hex(32),
  weight: whole(1),
  signature: hex(64),
});
/** One for each member of a secure round, in rising order of their ids. */
const ofMembers = <S extends v.GenericSchema>(schema: S) =>
  v.pipe(v.array(schema), v.maxLength(128));
/** Two shares under one seal. */
const sealed = ofMembers(v.nullable(hex(81)));
const survivors = ofMembers(sha256);

/** As many reals as an example has channels. */
const figures = (least: number) => v.pipe(v.array(between(least, 1e30)), v.maxLength(1024));

const message = <T extends string, E extends v.ObjectEntries>(type: T, entries: E) =>
  v.object({ type: v.literal(type), ...entries });

const either = {
  ack: message("ack", { transfer, offset: whole(0) }),
  abort: message("abort", { transfer, code }),
  ping: message("ping", { id: orNull(whole(0)) }),
  pong: message("pong", { id: orNull(whole(0)) }),
  error: message("error", { code, message: text(4096), assignment: orNull(assignment) }),
};

/** What a client sends. */
export const clientMessages = {
  hello: message("hello", {
    protocol: v.pipe(
      v.tuple([whole(1, 65535), whole(1, 65535)]),
      v.check(([min, max]) => min <= max, "the lowest version before the highest"),
    ),
    run: orNull(hex(16)),
    key: hex(32),
    nonce: hex(32),
    capabilities: v.object({
      algorithms: names,
      layers: names,
      codecs: names,
      models: v.optional(names, ["float32"]),
      build: orNull(text(64)),
      secure: v.optional(v.boolean(), false),
    }),
    samples: orNull(whole(0)),
    counted: orNull(counted),
    pending: v.optional(
      v.pipe(v.array(v.object({ assignment, sha256: orNull(sha256) })), v.maxLength(MOST_PENDING)),
      [],
    ),
    agent: orNull(text(128)),
  }),
  proof: message("proof", { signature: hex(64), token: orNull(secret(1024)) }),
  ready: message("ready", {}),
  busy: message("busy", { reason: text(1024), code: orNull(code) }),
  accept: message("accept", { assignment }),
  decline: message("decline", {
    assignment,
    code,
    message: orNull(text(1024)),
  }),
  progress: message("progress", {
    assignment,
    epoch: whole(0),
    batch: whole(0),
    batches: whole(0),
    loss: between(-1e30, 1e30),
  }),
  want: message("want", {
    transfer,
    sha256,
    offset: whole(0),
    window: whole(1),
  }),
  offer: message("offer", {
    assignment,
    sha256,
    bytes: whole(1),
    samples: whole(1),
    metrics: v.object({
      lossBefore: between(-1e30, 1e30),
      lossAfter: between(-1e30, 1e30),
      activationNorms: v.pipe(v.array(between(0, 1e30)), v.maxLength(1024)),
      seconds: between(0, 1e9),
    }),
  }),
  report: message("report", {
    assignment,
    evaluation: orNull(
      v.object({
        count: whole(0),
        correct: whole(0),
        loss: between(-1e30, 1e30),
        sums: v.optional(v.pipe(v.array(between(-1e30, 1e30)), v.maxLength(4096))),
      }),
    ),
    statistics: orNull(
      v.object({
        count: whole(1),
        mean: figures(-1e30),
        deviation: figures(0),
        targetMean: v.optional(figures(-1e30), []),
        targetDeviation: v.optional(figures(0), []),
      }),
    ),
  }),
  trained: message("trained", { assignment }),
  keys: message("keys", { assignment, ...member.entries }),
  shares: message("shares", { assignment, sealed, seed: sha256 }),
  verify: message("verify", { assignment, signature: hex(64) }),
  unmask: message("unmask", { assignment, shares: ofMembers(v.nullable(hex(32))) }),
  failed: message("failed", { assignment, code, message: orNull(text(1024)) }),
  bye: message("bye", { reason: orNull(text(1024)) }),
  ...either,
};

/** What the aggregator sends. */
export const serverMessages = {
  challenge: message("challenge", {
    protocol: whole(1, 65535),
    run: hex(16),
    nonce: hex(32),
  }),
  welcome: message("welcome", {
    epoch: whole(0),
    run: hex(16),
    limits: v.object({
      frameBytes: whole(1024, 256 * 1024),
      windowBytes: whole(1024, 16 * 1024 * 1024),
      blobBytes: whole(1),
    }),
    heartbeat: whole(100, 3_600_000),
    bearer: orNull(secret(1024)),
    lastCounted: orNull(counted),
    round: whole(1),
    model: orNull(blob),
  }),
  assign: message("assign", {
    assignment,
    round: whole(1),
    attempt: whole(1),
    phase: text(64),
    task: text(64),
    model: blob,
    differences: v.optional(v.pipe(v.array(difference), v.maxLength(MOST_DIFFERENCES)), []),
    codec: text(64),
    codecSettings: v.optional(v.record(text(64), between(-1e12, 1e12)), {}),
    settings: v.record(v.string(), v.unknown()),
    deadline: milliseconds,
  }),
  keys: message("keys", { assignment }),
  shares: message("shares", { assignment, members: ofMembers(member) }),
  masked: message("masked", { assignment, sealed }),
  verify: message("verify", { assignment, survivors }),
  unmask: message("unmask", {
    assignment,
    survivors,
    signatures: v.record(sha256, hex(64)),
  }),
  grant: message("grant", {
    assignment,
    transfer,
    offset: whole(0),
    window: whole(1),
  }),
  received: message("received", { assignment }),
  committed: message("committed", {
    assignment,
    round: whole(1),
    model: blob,
  }),
  refused: message("refused", {
    assignment,
    code,
    message: orNull(text(1024)),
    retryAfter: orNull(milliseconds),
  }),
  model: message("model", { round: whole(1), model: blob }),
  wait: message("wait", {
    reason: text(1024),
    retryAfter: orNull(milliseconds),
    assignment: orNull(assignment),
  }),
  finished: message("finished", { reason: text(1024), model: orNull(blob) }),
  ...either,
};

type Table = Readonly<Record<string, v.GenericSchema<unknown, { readonly type: string }>>>;
type Outgoing<T extends Table> = {
  [K in keyof T]: v.InferInput<T[K]>;
}[keyof T];
type Incoming<T extends Table> = {
  [K in keyof T]: v.InferOutput<T[K]>;
}[keyof T];

/** A message as it was decoded: every field is there, an absent optional one as null. */
export type ClientMessage = Incoming<typeof clientMessages>;
export type ServerMessage = Incoming<typeof serverMessages>;
export type ClientMessageOf<T extends ClientMessage["type"]> = Extract<ClientMessage, { type: T }>;
export type ServerMessageOf<T extends ServerMessage["type"]> = Extract<ServerMessage, { type: T }>;
/** A message as it may be written: optional fields may be left out. */
export type OutgoingClientMessage = Outgoing<typeof clientMessages>;
export type OutgoingServerMessage = Outgoing<typeof serverMessages>;

/** A blob's name and length, as models travel in messages. */
export type BlobName = v.InferOutput<typeof blob>;

/** The name of a difference's blob, and of the model that it leads on from. */
export type DifferenceName = v.InferOutput<typeof difference>;

/** The message as the text of one frame. @throws ProtocolError `too-large` above 64 KiB. */
export function encode(message: OutgoingClientMessage | OutgoingServerMessage): string {
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

/** Reads a text frame that a client sent. Never throws. */
export const decodeClientMessage = (text: string): Decoded<ClientMessage> =>
  decode(clientMessages, text);

/** Reads a text frame that the aggregator sent. Never throws. */
export const decodeServerMessage = (text: string): Decoded<ServerMessage> =>
  decode(serverMessages, text);

/** Codes: `too-large`, `not-json`, `not-a-message`, `unknown-type`, `bad-field`. */
function decode<T extends Table>(table: T, text: string): Decoded<Incoming<T>> {
  const bad = (code: string, message: string) => ({
    ok: false as const,
    error: new ProtocolError(code, message),
  });
  if (longerThan(text, MAX_TEXT_BYTES))
    return bad("too-large", `"text frame" expected at most ${MAX_TEXT_BYTES} bytes, got more`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return bad("not-json", `"text frame" expected JSON, got ${shown(text)}`);
  }
  if (
    typeof value !== "object" ||
    value === null ||
    !("type" in value) ||
    typeof value.type !== "string"
  )
    return bad("not-a-message", `"text frame" expected an object with a type, got ${shown(text)}`);
  const { type } = value;
  if (!Object.hasOwn(table, type))
    return bad(
      "unknown-type",
      `"type" expected a known message, got ${shown(JSON.stringify(type))}`,
    );
  const schema: T[keyof T] = table[type as keyof T];
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return { ok: true, message: result.output };
  const about = v.safeParse(v.object({ assignment }), value);
  return {
    ...bad("bad-field", describe(type, result.issues[0])),
    ...(about.success && about.output),
  };
}

/** Whether the other end will be able to read this message. */
export const isReadable = (message: OutgoingClientMessage): boolean =>
  v.safeParse(clientMessages[message.type], message).success;

/** The sentence for the first thing wrong: `"offer.samples" expected at least 1, got 0`. */
export function describe(label: string, issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue);
  const name = printable(path ? `${label}.${path}` : label);
  const got = GOT[issue.received] ?? shown(issue.received);
  return `"${name}" expected ${expectedIn(issue)}, got ${got}`;
}

const GOT: Readonly<Record<string, string>> = {
  undefined: "nothing",
  Array: "a list",
  Object: "an object",
};

const KINDS: Readonly<Record<string, string>> = {
  number: "a number",
  finite: "a finite number",
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
    case "gt_value":
      return `more than ${String(requirement)}`;
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

const shown = (text: string) => printable(text.length > 80 ? `${text.slice(0, 80)}...` : text);

function longerThan(text: string, bytes: number): boolean {
  if (text.length > bytes) return true;
  if (text.length * 3 <= bytes) return false;
  return new TextEncoder().encode(text).length > bytes;
}
