import * as v from "valibot";
import {
  assignment,
  code,
  counted,
  either,
  hex,
  member,
  message,
  MOST_PENDING,
  names,
  ofMembers,
  orNull,
  sealed,
  secret,
  sha256,
  text,
  transfer,
} from "./fields.js";
import { decode, type Decoded, type Incoming, type Outgoing } from "./messages.js";
import { between, whole } from "./numbers.js";
import { offer, report } from "./results.js";

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
  offer,
  report,
  trained: message("trained", { assignment }),
  keys: message("keys", { assignment, ...member.entries }),
  shares: message("shares", { assignment, sealed, seed: sha256 }),
  verify: message("verify", { assignment, signature: hex(64) }),
  unmask: message("unmask", { assignment, shares: ofMembers(orNull(hex(32))) }),
  failed: message("failed", { assignment, code, message: orNull(text(1024)) }),
  bye: message("bye", { reason: orNull(text(1024)) }),
  ...either,
};

/** A message as it was decoded: every field is there, an absent optional one as null. */
export type ClientMessage = Incoming<typeof clientMessages>;
export type ClientMessageOf<T extends ClientMessage["type"]> = Extract<ClientMessage, { type: T }>;
/** A message as it may be written: optional fields may be left out. */
export type OutgoingClientMessage = Outgoing<typeof clientMessages>;

/** Reads a text frame that a client sent. Never throws. */
export const decodeClientMessage = (text: string): Decoded<ClientMessage> =>
  decode(clientMessages, text);
