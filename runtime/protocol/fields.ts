import * as v from "valibot";
import { between, whole } from "./numbers.js";
import { printable } from "./printable.js";

// What the fields of messages are; docs/protocol.md says which message has which.

/** The most differences that may lead to an assignment's model. */
export const MOST_DIFFERENCES = 3;

/** The most assignments that a `hello` may say to have in hand. */
export const MOST_PENDING = 16;

export const hex = (bytes: number) =>
  v.pipe(
    v.string(),
    v.regex(
      new RegExp(`^[0-9a-f]{${2 * bytes}}$`),
      `${2 * bytes} hexadecimal digits in lower case`,
    ),
  );
/** Words of the other end, for people: what they hide is shown. */
export const text = (length: number) =>
  v.pipe(v.string(), v.maxLength(length), v.transform(printable));
/** What is only compared, as it is. */
export const secret = (length: number) => v.pipe(v.string(), v.maxLength(length));
export const orNull = <S extends v.GenericSchema>(schema: S) => v.nullish(schema, null);

export const code = v.pipe(
  v.string(),
  v.regex(
    /^[a-z][a-z0-9-]{0,63}$/,
    "a code of at most 64 lower-case letters, digits and hyphens, a letter first",
  ),
);
export const names = v.pipe(v.array(text(64)), v.maxLength(128));
export const sha256 = hex(32);
export const assignment = hex(16);
export const transfer = whole(1, 0xffffffff);
export const milliseconds = whole(0, 2 ** 31 - 1);
export const blob = v.object({ sha256, bytes: whole(1) });
export const difference = v.object({ base: sha256, ...blob.entries });
export const counted = v.object({ round: whole(1), assignment, sha256 });

/** A client of a secure round, as the others are told of it. */
export const member = v.object({
  key: hex(32),
  cipher: hex(32),
  mask: hex(32),
  weight: whole(1),
  signature: hex(64),
});
/** One for each member of a secure round, in rising order of their ids. */
export const ofMembers = <S extends v.GenericSchema>(schema: S) =>
  v.pipe(v.array(schema), v.maxLength(128));
/** Two shares under one seal. */
export const sealed = ofMembers(orNull(hex(81)));
export const survivors = ofMembers(sha256);

/** As many reals as an example has channels. */
export const figures = (least: number) => v.pipe(v.array(between(least, 1e30)), v.maxLength(1024));

export const message = <T extends string, E extends v.ObjectEntries>(type: T, entries: E) =>
  v.object({ type: v.literal(type), ...entries });

export const either = {
  ack: message("ack", { transfer, offset: whole(0) }),
  abort: message("abort", { transfer, code }),
  ping: message("ping", { id: orNull(whole(0)) }),
  pong: message("pong", { id: orNull(whole(0)) }),
  error: message("error", { code, message: text(4096), assignment: orNull(assignment) }),
};

/** A blob's name and length, as models travel in messages. */
export type BlobName = v.InferOutput<typeof blob>;

/** The name of a difference's blob, and of the model that it leads on from. */
export type DifferenceName = v.InferOutput<typeof difference>;
