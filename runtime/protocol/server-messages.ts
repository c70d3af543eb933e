import * as v from "valibot";
import {
  assignment,
  blob,
  code,
  counted,
  difference,
  either,
  hex,
  member,
  message,
  milliseconds,
  MOST_DIFFERENCES,
  ofMembers,
  orNull,
  sealed,
  secret,
  sha256,
  survivors,
  text,
  transfer,
} from "./fields.js";
import { decode, type Decoded, type Incoming, type Outgoing } from "./messages.js";
import { between, whole } from "./numbers.js";

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

/** A message as it was decoded: every field is there, an absent optional one as null. */
export type ServerMessage = Incoming<typeof serverMessages>;
export type ServerMessageOf<T extends ServerMessage["type"]> = Extract<ServerMessage, { type: T }>;
/** A message as it may be written: optional fields may be left out. */
export type OutgoingServerMessage = Outgoing<typeof serverMessages>;

/** Reads a text frame that the aggregator sent. Never throws. */
export const decodeServerMessage = (text: string): Decoded<ServerMessage> =>
  decode(serverMessages, text);
