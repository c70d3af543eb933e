import type { ProtocolError } from "../errors.js";
import type { Identity, Platform, SocketOptions } from "../platform/platform.js";
import type { OutgoingClientMessage } from "../protocol/client-messages.js";
import type { ServerMessage, ServerMessageOf } from "../protocol/server-messages.js";

type Hello = Extract<OutgoingClientMessage, { type: "hello" }>;

/** What a client says of itself in `hello`. */
export type Introduction = Pick<
  Hello,
  "capabilities" | "samples" | "counted" | "pending" | "agent"
>;

/** Gives the bytes of an update, from any offset: they may lie in memory or be made on the way. */
export type BlobSource = (offset: number, length: number) => Uint8Array;

/** Why a connection has ended for good. */
export type EndReason =
  "closed" | "finished" | "replaced" | "not-admitted" | "version" | "unreachable" | "broken";

/** What the owner of a connection is told. None of these may throw. */
export interface ConnectionEvents {
  /**
   * The connection is up. Called before anything is repeated on it, so that `settle` can still take
   * offers back.
   */
  welcome(welcome: ServerMessageOf<"welcome">): void;
  message(message: Told): void;
  /** The other end sent something wrong, or says that we did. The connection stays. */
  problem(error: ProtocolError): void;
  /** The connection is lost; another is dialled in so many milliseconds. */
  lost(reason: string, retryIn: number): void;
  ended(reason: EndReason, message: string): void;
}

/** The messages that a connection does not keep to itself. */
export type Told = Exclude<
  ServerMessage,
  ServerMessageOf<"challenge" | "welcome" | "ping" | "pong" | "error" | "grant" | "ack" | "abort">
>;

export interface ConnectionOptions {
  readonly url: string;
  readonly openSocket: Platform["openSocket"];
  readonly socket?: SocketOptions;
  readonly identity: Identity;
  /** Bearer or enrolment token, where the aggregator asks for one. */
  readonly token?: string;
  /** The run this client was last in. */
  readonly run?: string;
  /** Asked before each `hello`, and again where the aggregator turns out to be in another run. */
  introduce(run: string | undefined): Introduction | Promise<Introduction>;
  readonly events: ConnectionEvents;
  /** End as `unreachable` after so many milliseconds without a connection. Default: never. */
  readonly patience?: number;
  /** Uniform in [0, 1), for the back-off. Default: Math.random. */
  readonly chance?: () => number;
}
