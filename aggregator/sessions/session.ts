import { randomBytes } from "node:crypto";
import { ProtocolError } from "../../runtime/errors.js";
import type { Socket } from "../../runtime/platform/platform.js";
import { decodeChunk, type Chunk } from "../../runtime/protocol/chunks.js";
import {
  decodeClientMessage,
  type ClientMessage,
  type ClientMessageOf,
} from "../../runtime/protocol/client-messages.js";
import { encode, PROTOCOL } from "../../runtime/protocol/messages.js";
import type { OutgoingServerMessage } from "../../runtime/protocol/server-messages.js";
import type { Admission } from "./authentication.js";
import { openHandshake, type Handshake, type Hello, type Refused } from "./handshake.js";
import { DOWNLOADS, openDownloads, type ModelStore } from "./downloads.js";
import type { Log, OthersLog } from "../log.js";

/** Frames that could not be understood before the connection is closed. */
const BAD_FRAMES = 100;

/** Where a connection comes from. */
export interface Origin {
  /** The `Host` header of the upgrade request: what the client must have signed. */
  readonly host: string;
  /** For the log. */
  readonly address: string;
  /** Called when the client has proven who it is. */
  readonly proven?: () => void;
}

/** What is done with the events of a session. */
export interface SessionHandlers {
  /** Whether the run knows this client, or may still take a new one. */
  hasRoomFor(client: string): boolean;
  /** The client has proven its id: welcome it. */
  admitted(session: Session, hello: Hello): void;
  /** A message about work, after `welcome`. */
  message(session: Session, message: ClientMessage): void;
  chunk(session: Session, chunk: Chunk): void;
  closed(session: Session): void;
  /** A client at this address was refused. */
  refused(reason: string, address: string): void;
}

/** What all sessions of a run share. */
export interface SessionContext {
  readonly run: string;
  readonly admission: Admission;
  readonly log: Log;
  /** For events that others can trigger. */
  readonly othersLog: OthersLog;
  readonly heartbeat: number;
  readonly helloDeadline: number;
  readonly windowBytes: number;
  readonly models: ModelStore;
  readonly handlers: SessionHandlers;
}

/** Messages that a session answers itself; the others are about work. */
export type SessionMessage = "hello" | "proof" | "ping" | "pong" | "error" | "want" | "ack";

/**
 * One connection from its first frame to its close: the handshake, malformed frames, heartbeat, and
 * downloads of models. What messages about work mean is decided in run/.
 */
export class Session {
  #client = "";
  /** Bearer token for GET /blobs, valid while the connection is open. */
  readonly bearer = randomBytes(32).toString("base64url");
  readonly origin: Origin;
  readonly #connection: Socket;
  readonly #context: SessionContext;
  #at: "handshake" | "welcome" | "closed" = "handshake";
  /** Gone once it is over: thousands of idle connections would keep it in memory. */
  #handshake: Handshake | undefined;
  #helloTimer: NodeJS.Timeout;
  #heardAt = performance.now();
  #sentAt = performance.now();
  #badFrames = 0;
  /** Twice what its open downloads may have in flight. */
  readonly #mostBuffered: number;
  #uploads = 0;
  readonly #downloads: ReturnType<typeof openDownloads>;

  constructor(connection: Socket, origin: Origin, context: SessionContext) {
    this.#connection = connection;
    this.origin = origin;
    this.#context = context;
    this.#mostBuffered = 2 * DOWNLOADS * context.windowBytes;
    this.#helloTimer = setTimeout(() => {
      this.#log("warn", "closed a connection that did not say who it is in time");
      this.close(4002, "hello-timeout");
    }, context.helloDeadline);
    connection.onMessage = (data) => this.#receive(data);
    connection.onClose = (code, reason) => this.#closed(code, reason);
    connection.onDrain = () => this.#downloads.drained();
    const { run, admission, handlers } = context;
    this.#handshake = openHandshake({
      run,
      host: origin.host,
      admission,
      hasRoomFor: (client) => handlers.hasRoomFor(client),
      challenge: (nonce) => this.send({ type: "challenge", protocol: PROTOCOL, run, nonce }),
      admitted: (hello) => this.#admitted(hello),
      refused: (code, reason) => this.#refuse(code, reason),
    });
    this.#downloads = openDownloads({
      connection,
      models: context.models,
      windowBytes: context.windowBytes,
      write: (frame) => this.#write(frame),
      send: (message) => this.send(message),
      complain: (code, message) => this.complain(code, message),
      refused: (sha256, code) => this.#log("info", "cannot send a blob", { sha256, code }),
    });
  }

  /** The client's id; known after `hello`, proven once the session is handed to the aggregator. */
  get client(): string {
    return this.#handshake?.client ?? this.#client;
  }

  get isOpen(): boolean {
    return this.#at !== "closed";
  }

  send(message: OutgoingServerMessage): void {
    this.#write(encode(message));
  }

  /** Sends a frame; closes the connection of a client that does not read. */
  #write(frame: string | Uint8Array): void {
    if (!this.isOpen) return;
    this.#sentAt = performance.now();
    this.#connection.send(frame);
    if (this.#connection.bufferedAmount <= this.#mostBuffered) return;
    this.#log("warn", "closed a connection whose client does not read");
    this.close(4005, "too-slow");
  }

  close(code: number, reason: string): void {
    if (this.#at === "closed") return;
    this.#connection.close(code, reason);
    this.#closed(code, reason);
  }

  /** Answers a frame that cannot be used; too many of them close the connection. */
  complain(code: string, message: string, assignment?: string): void {
    this.#log("warn", "refused a frame", { code, message });
    this.send({ type: "error", code, message: message.slice(0, 4096), assignment });
    if (++this.#badFrames >= BAD_FRAMES) {
      this.#log("warn", "closed a connection after too many bad frames");
      this.close(1008, "too-many-bad-frames");
    }
  }

  /** A number for a transfer up: even, and never used twice. */
  nextUpload(): number {
    this.#uploads += 2;
    return this.#uploads;
  }

  /**
   * Closes a silent connection, or pings it; call it now and then.
   * @param stood milliseconds for which this process stood still: nothing could be heard meanwhile
   */
  beat(now: number, stood: number): void {
    if (this.#at !== "welcome") return;
    this.#heardAt = Math.min(now, this.#heardAt + stood);
    if (now - this.#heardAt > 3 * this.#context.heartbeat) {
      this.#log("info", "closed a silent connection");
      this.close(4004, "silent");
    } else if (now - this.#sentAt >= this.#context.heartbeat) this.send({ type: "ping" });
  }

  #log(level: "info" | "warn", sentence: string, facts: Record<string, unknown> = {}): void {
    this.#context.othersLog[level](
      {
        client: this.client.slice(0, 32) || undefined,
        address: this.origin.address,
        ...facts,
      },
      sentence,
    );
  }

  #closed(code: number, reason: string): void {
    if (this.#at === "closed") return;
    this.#at = "closed";
    clearTimeout(this.#helloTimer);
    this.#downloads.close();
    this.#log("info", "connection closed", { code, reason });
    this.#context.handlers.closed(this);
  }

  #receive(data: string | Uint8Array): void {
    if (this.#at === "closed") return;
    this.#heardAt = performance.now();
    try {
      if (typeof data === "string") this.#text(data);
      else if (this.#at !== "welcome")
        this.complain("out-of-order", "a binary frame before welcome");
      else this.#context.handlers.chunk(this, decodeChunk(data));
    } catch (error) {
      if (error instanceof ProtocolError) this.complain(error.code, error.message);
      else {
        // A defect in the aggregator: it costs this connection and no other.
        this.#context.log.error({ err: error }, "a frame could not be handled");
        this.close(1011, "internal-error");
      }
    }
  }

  #text(text: string): void {
    const decoded = decodeClientMessage(text);
    if (!decoded.ok)
      return this.complain(decoded.error.code, decoded.error.message, decoded.assignment);
    const { message } = decoded;
    switch (message.type) {
      case "ping":
        return this.send({ type: "pong", id: message.id });
      case "pong":
        return;
      case "error":
        return this.#log("warn", "the client complains", {
          code: message.code,
          message: message.message,
        });
      case "hello":
        if (this.#handshake?.next === "hello") return this.#handshake.greet(message);
        break;
      case "proof":
        if (this.#handshake?.next === "proof") return this.#prove(this.#handshake, message);
        break;
      case "bye":
        if (this.#at !== "welcome") return this.close(1000, "bye");
        break;
    }
    if (this.#at === "welcome") {
      // The transfers that the client began have odd numbers.
      if (message.type === "want") return this.#downloads.want(message);
      if (message.type === "ack" && message.transfer % 2 === 1)
        return this.#downloads.acknowledge(message);
      if (message.type === "abort" && message.transfer % 2 === 1)
        return this.#downloads.abort(message.transfer);
      return this.#context.handlers.message(this, message);
    }
    this.complain("out-of-order", `"${message.type}" has no place now`);
  }

  #prove(handshake: Handshake, proof: ClientMessageOf<"proof">): void {
    handshake.prove(proof).catch((error: unknown) => {
      this.#context.log.error({ err: error }, "a proof could not be judged");
      this.close(1011, "internal-error");
    });
  }

  #admitted(hello: Hello): void {
    if (!this.isOpen) return;
    clearTimeout(this.#helloTimer);
    this.#at = "welcome";
    this.#client = this.client;
    this.#handshake = undefined;
    this.origin.proven?.();
    this.#log("info", "client connected", { agent: hello.agent });
    this.#context.handlers.admitted(this, hello);
  }

  #refuse(code: Refused, reason: string): void {
    if (!this.isOpen) return;
    if (code === "version") {
      this.complain(code, reason);
      return this.close(4003, code);
    }
    const isFull = code === "too-many-clients";
    if (isFull) this.#log("warn", "refused a client: the run has as many as it may");
    else this.#log("warn", "refused a client", { reason });
    this.#context.handlers.refused(reason, this.origin.address);
    if (isFull) return this.close(1013, code);
    this.send({ type: "error", code, message: reason });
    this.close(4001, code);
  }
}
