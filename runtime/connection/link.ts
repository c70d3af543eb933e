import { ProtocolError } from "../errors.js";
import type { Socket } from "../platform/platform.js";
import type { OutgoingClientMessage } from "../protocol/client-messages.js";
import { encode, PROTOCOL } from "../protocol/messages.js";
import {
  decodeServerMessage,
  type ServerMessage,
  type ServerMessageOf,
} from "../protocol/server-messages.js";
import { proofBytes } from "../protocol/signing.js";
import { randomHex, toHex } from "./hash.js";
import type { ConnectionOptions, EndReason, Introduction } from "./options.js";

/** How long the handshake may take. The aggregator itself gives up after 10 s. */
const HANDSHAKE_MS = 20_000;
/** Frames that could not be understood before the link is closed. */
const MAX_PROBLEMS = 100;

/** What a link is part of. */
export interface LinkOwner {
  /** The run, once it is known. */
  run(): string | undefined;
  /** The aggregator is in another run. Resolves to whether this link may prove itself to it. */
  enter(run: string): Promise<boolean>;
  opened(welcome: ServerMessageOf<"welcome">): void;
  /** @throws ProtocolError where the message is wrong */
  message(message: ServerMessage): void;
  /** @throws ProtocolError where the frame is wrong */
  chunk(frame: Uint8Array): void;
  /** The link has ended, at this end or the other. */
  lost(code: number, reason: string): void;
  /** No other link would fare better. */
  end(reason: EndReason, message: string): void;
}

/**
 * One socket to the aggregator, from its dialling to its end: proves who the client is, answers and
 * sends heartbeats, and gives up on an aggregator that is silent or talks nonsense. `close` and
 * `drop` silence it: what the socket still says is not heard.
 */
export class Link {
  readonly #options: ConnectionOptions;
  readonly #owner: LinkOwner;
  readonly #socket: Socket;
  #open = true;
  #welcome?: ServerMessageOf<"welcome">;
  #timer?: ReturnType<typeof setTimeout>;
  #problems = 0;
  #lastHeard = performance.now();
  #lastSent = 0;
  #nonce = "";
  #complaint = "";

  constructor(options: ConnectionOptions, owner: LinkOwner) {
    this.#options = options;
    this.#owner = owner;
    this.#timer = setTimeout(() => this.drop(4002, "no welcome in time"), HANDSHAKE_MS);
    const socket = options.openSocket(options.url, options.socket ?? {});
    this.#socket = socket;
    socket.onOpen = () => {
      if (this.#open) void this.#greet();
    };
    socket.onMessage = (data) => {
      if (this.#open) this.#receive(data);
    };
    socket.onClose = (code, reason) => {
      if (!this.#open) return;
      this.#silence();
      owner.lost(code, reason);
    };
  }

  /** What the aggregator said when the handshake was done. */
  get welcome(): ServerMessageOf<"welcome"> | undefined {
    return this.#welcome;
  }

  /** The other end's last complaint: why it closes the link, in words. */
  get complaint(): string {
    return this.#complaint;
  }

  /** The socket copies what it sends. */
  get copies(): boolean {
    return this.#socket.copies === true;
  }

  send(message: OutgoingClientMessage): void {
    this.transmit(encode(message));
  }

  transmit(data: string | Uint8Array): void {
    if (!this.#open) return;
    this.#lastSent = performance.now();
    this.#socket.send(data);
  }

  /** Ends the link, and tells its owner at once: the other end may be gone and never answer. */
  drop(code: number, reason: string): void {
    if (!this.#open) return;
    this.close(code, reason);
    this.#owner.lost(code, reason);
  }

  /** Ends the link. */
  close(code: number, reason: string): void {
    this.#silence();
    this.#socket.close(code, reason);
  }

  #silence(): void {
    this.#open = false;
    clearTimeout(this.#timer);
  }

  async #greet(): Promise<void> {
    const { identity, introduce } = this.#options;
    const run = this.#owner.run();
    let introduction: Introduction;
    try {
      introduction = await introduce(run);
    } catch (error) {
      return this.#owner.end("broken", String(error));
    }
    this.#nonce = randomHex(32);
    this.send({
      type: "hello",
      protocol: [PROTOCOL, PROTOCOL],
      run,
      key: toHex(identity.publicKey),
      nonce: this.#nonce,
      ...introduction,
    });
  }

  async #prove({ protocol, run, nonce }: ServerMessageOf<"challenge">): Promise<void> {
    const { identity, token, url } = this.#options;
    const owner = this.#owner;
    const clientNonce = this.#nonce;
    this.#nonce = "";
    if (protocol !== PROTOCOL)
      return owner.end("version", `"protocol" expected ${PROTOCOL}, got ${protocol}`);
    try {
      if (run !== owner.run() && !(await owner.enter(run))) return;
      const { host } = new URL(url);
      const proof = proofBytes({ run, host, clientNonce, serverNonce: nonce });
      this.send({ type: "proof", signature: toHex(await identity.sign(proof)), token });
    } catch (error) {
      owner.end("broken", String(error));
    }
  }

  #receive(data: string | Uint8Array): void {
    this.#lastHeard = performance.now();
    try {
      if (typeof data !== "string") return this.#owner.chunk(data);
      const decoded = decodeServerMessage(data);
      if (!decoded.ok) throw decoded.error;
      this.#handle(decoded.message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#problem(error);
    }
  }

  #handle(message: ServerMessage): void {
    const { type } = message;
    const isUp = this.#welcome !== undefined;
    switch (type) {
      case "challenge":
        if (isUp || this.#nonce === "") throw outOfOrder(type);
        return void this.#prove(message);
      case "welcome":
        if (isUp || message.run !== this.#owner.run()) throw outOfOrder(type);
        this.#welcome = message;
        this.#problems = 0;
        this.#beat(message.heartbeat);
        return this.#owner.opened(message);
      case "ping":
        return this.send({ type: "pong", id: message.id });
      case "pong":
        return;
      case "error":
        this.#complaint = message.message;
        this.#options.events.problem(new ProtocolError(message.code, message.message));
        break;
      case "wait":
        break;
      default:
        if (!isUp) throw outOfOrder(type);
    }
    this.#owner.message(message);
  }

  /**
   * Looks after the link twice per heartbeat: sends a ping in a silence of ours, gives up after
   * three of theirs.
   */
  #beat(heartbeat: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const now = performance.now();
      if (now - this.#lastHeard > 3 * heartbeat) return this.drop(4004, "silent");
      if (now - this.#lastSent >= heartbeat / 2) this.send({ type: "ping" });
      this.#beat(heartbeat);
    }, heartbeat / 2);
  }

  #problem(error: ProtocolError): void {
    this.#options.events.problem(error);
    if (++this.#problems > MAX_PROBLEMS) return this.drop(1008, "too many wrong frames");
    this.send({ type: "error", code: error.code, message: error.message });
  }
}

const outOfOrder = (type: string) =>
  new ProtocolError("out-of-order", `"${type}" expected at another time`);

/** The aggregator's transfers have even numbers, ours odd ones. */
export const isTheirs = (transfer: number) => transfer % 2 === 0;

export const unknownTransfer = (transfer: number) =>
  new ProtocolError("unknown-transfer", `"transfer" expected one that is open, got ${transfer}`);
