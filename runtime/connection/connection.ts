import { ProtocolError } from "../errors.js";
import type { Identity, Platform, Socket, SocketOptions } from "../platform/platform.js";
import { CHUNK_HEADER_BYTES, decodeChunk, encodeChunk } from "../protocol/chunks.js";
import {
  decodeServerMessage,
  encode,
  PROTOCOL,
  type BlobName,
  type OutgoingClientMessage,
  type ServerMessage,
  type ServerMessageOf,
} from "../protocol/messages.js";
import { printable } from "../protocol/printable.js";
import { proofBytes } from "../protocol/signing.js";
import {
  ackDue,
  acknowledged,
  ackSent,
  chunkReceived,
  chunkSent,
  nextChunk,
  receiving,
  receivingDone,
  sending,
  type Receiving,
  type Sending,
} from "../protocol/transfer.js";
import { backOff } from "./back-off.js";
import { randomHex, toHex } from "./hash.js";

/** Until `welcome`. The aggregator's own patience is 10 s. */
const HANDSHAKE_MS = 20_000;
/** Bytes of a blob per frame, where the aggregator allows as many. */
const CHUNK_BYTES = 64 * 1024;
/** Memory for frames of updates, of every connection whose socket copies what it sends. */
let frameMemory: ArrayBuffer | undefined;
/** Unacknowledged bytes of a model on its way here. */
const WINDOW_BYTES = 512 * 1024;
/** Frames that could not be understood before the line is closed. */
const MAX_PROBLEMS = 100;

type Hello = Extract<OutgoingClientMessage, { type: "hello" }>;
type Standing = Extract<OutgoingClientMessage, { type: "offer" | "report" }>;

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
   * The line stands. Called before anything is repeated on it, so that `settle` can still take
   * offers back.
   */
  welcome(welcome: ServerMessageOf<"welcome">): void;
  message(message: Told): void;
  /** The other end sent something wrong, or says that we did. The line goes on. */
  problem(error: ProtocolError): void;
  /** The line is lost; another is dialled in so many milliseconds. */
  lost(reason: string, retryIn: number): void;
  ended(reason: EndReason, message: string): void;
}

/** The messages that are not the connection's own affair. */
export type Told = ServerMessageOf<
  "assign" | "received" | "committed" | "refused" | "model" | "wait" | "finished"
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
  /** End as `unreachable` where the line has not stood for so many milliseconds. Default: never. */
  readonly patience?: number;
  /** Uniform in [0, 1), for the back-off. Default: Math.random. */
  readonly chance?: () => number;
}

interface Offered {
  readonly message: Standing;
  readonly source?: BlobSource;
  sending?: Sending;
  retry?: ReturnType<typeof setTimeout>;
}

interface Download {
  readonly blob: BlobName;
  readonly sink: (bytes: Uint8Array, offset: number) => void;
  /** Most bytes on their way at once. */
  readonly window: number;
  readonly done: () => void;
  readonly failed: (error: Error) => void;
  held: number;
  receiving?: Receiving;
}

/**
 * One client's line to the aggregator, kept up: dials, proves who it is, answers and sends
 * heartbeats, dials again with full-jitter back-off, goes on with broken transfers, and repeats
 * offers and reports until they are settled. It knows nothing of training. One timer and no buffers
 * of its own, so that one process holds thousands.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #host: string;
  #socket?: Socket;
  #welcome?: ServerMessageOf<"welcome">;
  #run?: string;
  #timer?: ReturnType<typeof setTimeout>;
  #failures = 0;
  #problems = 0;
  #notBefore = 0;
  /** When the line last stood, or was first dialled. */
  #lastUp = 0;
  #lastHeard = 0;
  #lastSent = 0;
  #nonce = "";
  /** The other end's last complaint on this line: why it closes it, in words. */
  #complaint = "";
  #available: true | string | undefined = "starting";
  #declines?: string;
  #finished = false;
  #ended = false;
  #nextTransfer = 1;
  readonly #offers = new Map<string, Offered>();
  readonly #downloads: Download[] = [];

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#host = new URL(options.url).host;
    this.#run = options.run;
  }

  /** Whether the line stands. */
  get isUp(): boolean {
    return this.#welcome !== undefined;
  }

  /** Dials, and from now on keeps the line up. */
  start(): void {
    this.#lastUp = performance.now();
    this.#dial();
  }

  /**
   * Ready for assignments, busy and why, or not known yet, of which nothing is said. Holds until the
   * next call, over any number of lines.
   * @param code what an assignment would be declined for, where that will not change by itself
   */
  available(available: true | string | undefined, code?: string): void {
    if (available === this.#available) return;
    this.#available = available;
    this.#declines = code;
    if (this.isUp) this.#sayAvailability();
  }

  /** Sends a message if the line stands; it is not repeated if it is lost. */
  tell(message: OutgoingClientMessage): boolean {
    if (!this.isUp) return false;
    this.#send(message);
    return true;
  }

  /**
   * Offers an update, or reports an evaluation, now and after each new `welcome`, until it is
   * settled: `committed`, refused for good, for a report `received`, or taken back by `settle`.
   */
  offer(message: Standing, source?: BlobSource): void {
    this.settle(message.assignment);
    this.#offers.set(message.assignment, { message, source });
    this.tell(message);
  }

  /** Says an offer or report again that is not settled. False where there is none. */
  repeat(assignment: string): boolean {
    const offered = this.#offers.get(assignment);
    if (offered !== undefined) this.tell(offered.message);
    return offered !== undefined;
  }

  /** Takes an offer back, or forgets one that was settled otherwise. */
  settle(assignment: string): void {
    const offered = this.#offers.get(assignment);
    if (offered === undefined) return;
    clearTimeout(offered.retry);
    this.#offers.delete(assignment);
    if (offered.sending !== undefined)
      this.tell({
        type: "abort",
        transfer: offered.sending.transfer,
        code: "cancelled",
      });
  }

  /**
   * Fetches a blob over any number of lines, one blob at a time. `sink` is given its bytes in order.
   * Its hash is for the caller to check.
   * @throws ProtocolError with the code of an `abort` (`unknown-blob`), or `cancelled` through the signal or the connection's end.
   */
  fetch(
    blob: BlobName,
    sink: (bytes: Uint8Array, offset: number) => void,
    signal?: AbortSignal,
    window = WINDOW_BYTES,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = () => this.#dropDownload(download, "cancelled", "the fetch was cancelled");
      const download: Download = {
        blob,
        sink,
        window,
        held: 0,
        done: () => {
          signal?.removeEventListener("abort", cancel);
          resolve();
        },
        failed: (error) => {
          signal?.removeEventListener("abort", cancel);
          reject(error);
        },
      };
      if (this.#ended || signal?.aborted)
        return reject(new ProtocolError("cancelled", `"fetch" expected an open connection`));
      signal?.addEventListener("abort", cancel);
      this.#downloads.push(download);
      this.#want();
    });
  }

  /** Gives the line up, and dials another after so many milliseconds. */
  redial(reason: string, wait: number): void {
    this.#notBefore = performance.now() + wait;
    if (this.#socket !== undefined) this.#drop(1000, reason);
  }

  /**
   * Leaves: says `bye` and ends. Offers that are not settled are forgotten here; their owner keeps
   * them.
   */
  close(reason?: string): void {
    if (this.#ended) return;
    this.tell({ type: "bye", reason });
    this.#end(this.#finished ? "finished" : "closed", reason ?? "closed");
  }

  #dial(): void {
    this.#arm(HANDSHAKE_MS, () => this.#drop(4002, "no welcome in time"));
    const socket = this.#options.openSocket(this.#options.url, this.#options.socket ?? {});
    this.#socket = socket;
    this.#lastHeard = performance.now();
    this.#complaint = "";
    // A socket that was given up may still speak: it is no longer this line.
    const current = () => this.#socket === socket;
    socket.onOpen = () => {
      if (current()) void this.#greet(socket);
    };
    socket.onMessage = (data) => {
      if (current()) this.#receive(data);
    };
    socket.onClose = (code, reason) => {
      if (current()) this.#lost(code, reason);
    };
  }

  async #greet(socket: Socket): Promise<void> {
    const { identity, introduce } = this.#options;
    let introduction: Introduction;
    try {
      introduction = await introduce(this.#run);
    } catch (error) {
      return this.#end("broken", String(error));
    }
    if (this.#socket !== socket) return;
    this.#nonce = randomHex(32);
    this.#send({
      type: "hello",
      protocol: [PROTOCOL, PROTOCOL],
      run: this.#run,
      key: toHex(identity.publicKey),
      nonce: this.#nonce,
      ...introduction,
    });
  }

  async #prove(challenge: ServerMessageOf<"challenge">): Promise<void> {
    const { identity, introduce, token } = this.#options;
    const socket = this.#socket!;
    const clientNonce = this.#nonce;
    this.#nonce = "";
    if (challenge.protocol !== PROTOCOL)
      return this.#end("version", `"protocol" expected ${PROTOCOL}, got ${challenge.protocol}`);
    try {
      if (challenge.run !== this.#run) {
        // Offers belong to a run. Where we have records of this other one, hello must say so: dial
        // again with them.
        const first = this.#run === undefined && this.#offers.size === 0;
        for (const assignment of [...this.#offers.keys()]) this.settle(assignment);
        this.#run = challenge.run;
        const known = await introduce(challenge.run);
        if (this.#socket !== socket) return;
        if (!first || known.counted || (known.pending ?? []).length > 0) {
          this.#socket = undefined;
          socket.close(1000, "another run");
          return this.#dial();
        }
      }
      const signature = await identity.sign(
        proofBytes({
          run: challenge.run,
          host: this.#host,
          clientNonce,
          serverNonce: challenge.nonce,
        }),
      );
      if (this.#socket !== socket) return;
      this.#send({ type: "proof", signature: toHex(signature), token });
    } catch (error) {
      this.#end("broken", String(error));
    }
  }

  #receive(data: string | Uint8Array): void {
    this.#lastHeard = performance.now();
    try {
      if (typeof data !== "string") return this.#receiveChunk(data);
      const decoded = decodeServerMessage(data);
      if (!decoded.ok) throw decoded.error;
      this.#handle(decoded.message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#problem(error);
    }
  }

  #handle(message: ServerMessage): void {
    switch (message.type) {
      case "challenge":
        if (this.isUp || this.#nonce === "") throw outOfOrder(message.type);
        return void this.#prove(message);
      case "welcome":
        if (this.isUp || message.run !== this.#run) throw outOfOrder(message.type);
        return this.#open(message);
      case "ping":
        return this.#send({ type: "pong", id: message.id });
      case "pong":
        return;
      case "error":
        this.#complaint = message.message;
        this.#options.events.problem(new ProtocolError(message.code, message.message));
        return this.#misunderstood(message);
      case "wait":
        if (message.retryAfter !== null) this.#notBefore = performance.now() + message.retryAfter;
        return this.#options.events.message(message);
    }
    if (!this.isUp) throw outOfOrder(message.type);
    switch (message.type) {
      case "grant":
        return this.#granted(message);
      case "ack":
        return this.#acknowledged(message);
      case "abort":
        return this.#aborted(message);
      case "received":
        if (this.#offers.get(message.assignment)?.message.type === "report")
          this.#forget(message.assignment);
        break;
      case "committed":
        this.#forget(message.assignment);
        break;
      case "refused":
        this.#refused(message);
        break;
      case "finished":
        this.#finished = true;
        break;
      case "assign":
        // There is work: when to come back was said before it.
        this.#notBefore = 0;
        break;
    }
    this.#options.events.message(message);
  }

  #open(welcome: ServerMessageOf<"welcome">): void {
    this.#welcome = welcome;
    this.#failures = 0;
    this.#problems = 0;
    this.#notBefore = 0;
    this.#nextTransfer = 1;
    this.#beat();
    this.#options.events.welcome(welcome);
    for (const { message } of this.#offers.values()) this.tell(message);
    if (this.isUp) this.#sayAvailability();
    this.#want();
  }

  #sayAvailability(): void {
    if (this.#available === undefined) return;
    this.#send(
      this.#available === true
        ? { type: "ready" }
        : { type: "busy", reason: this.#available, code: this.#declines },
    );
  }

  /**
   * Looks after the line twice per heartbeat: sends a ping in a silence of ours, gives up after
   * three of theirs.
   */
  #beat(): void {
    const heartbeat = this.#welcome!.heartbeat;
    this.#arm(heartbeat / 2, () => {
      const now = performance.now();
      if (now - this.#lastHeard > 3 * heartbeat) return this.#drop(4004, "silent");
      if (now - this.#lastSent >= heartbeat / 2) this.#send({ type: "ping" });
      this.#beat();
    });
  }

  // Uploads: the aggregator grants, we send.

  #granted(grant: ServerMessageOf<"grant">): void {
    const { windowBytes } = this.#welcome!.limits;
    if (grant.window > windowBytes)
      throw new ProtocolError(
        "over-window",
        `"grant.window" expected at most ${windowBytes}, got ${grant.window}`,
      );
    const offered = this.#offers.get(grant.assignment);
    if (offered?.source === undefined || offered.message.type !== "offer") {
      this.#send({
        type: "abort",
        transfer: grant.transfer,
        code: "unknown-blob",
      });
      return;
    }
    offered.sending = sending(grant.transfer, offered.message.bytes, grant);
    this.#pump(offered);
  }

  #pump(offered: Offered): void {
    const { frameBytes } = this.#welcome!.limits;
    const limit = Math.min(CHUNK_BYTES, frameBytes - CHUNK_HEADER_BYTES);
    while (offered.sending !== undefined && offered.source !== undefined) {
      const next = nextChunk(offered.sending, limit);
      if (next === undefined) return;
      const bytes = offered.source(next.offset, next.length);
      const chunk = {
        transfer: offered.sending.transfer,
        offset: next.offset,
        bytes,
      };
      const copies = this.#socket?.copies === true;
      const frame = encodeChunk(chunk, copies ? frameMemory : undefined);
      if (copies) frameMemory = frame.buffer;
      this.#transmit(frame);
      offered.sending = chunkSent(offered.sending, next.length);
    }
  }

  #acknowledged({ transfer, offset }: ServerMessageOf<"ack">): void {
    for (const offered of this.#offers.values())
      if (offered.sending?.transfer === transfer) {
        offered.sending = acknowledged(offered.sending, offset);
        return this.#pump(offered);
      }
    if (!isTheirs(transfer)) throw unknownTransfer(transfer);
  }

  #aborted({ transfer, code }: ServerMessageOf<"abort">): void {
    // The offer stands: another grant may follow.
    for (const offered of this.#offers.values())
      if (offered.sending?.transfer === transfer) offered.sending = undefined;
    const [download] = this.#downloads;
    if (download?.receiving?.transfer === transfer) {
      download.receiving = undefined;
      this.#dropDownload(
        download,
        code,
        `"${download.blob.sha256}" expected to be sent, got ${code}`,
      );
    }
  }

  /** What the aggregator could not read it never will: the work ends, for both ends. */
  #misunderstood({ assignment, message }: ServerMessageOf<"error">): void {
    if (!this.isUp || assignment === null || !this.#offers.has(assignment)) return;
    this.#forget(assignment);
    this.#send({ type: "failed", assignment, code: "other", message: message.slice(0, 1024) });
    this.#options.events.message({
      type: "refused",
      assignment,
      code: "other",
      message,
      retryAfter: null,
    });
  }

  #refused({ assignment, retryAfter }: ServerMessageOf<"refused">): void {
    if (retryAfter === null) return this.#forget(assignment);
    const offered = this.#offers.get(assignment);
    if (offered === undefined) return;
    offered.sending = undefined;
    clearTimeout(offered.retry);
    offered.retry = setTimeout(() => this.tell(offered.message), retryAfter);
  }

  #forget(assignment: string): void {
    clearTimeout(this.#offers.get(assignment)?.retry);
    this.#offers.delete(assignment);
  }

  // Downloads: we want, the aggregator sends.

  #want(): void {
    const [download] = this.#downloads;
    if (!this.isUp || download === undefined || download.receiving) return;
    const window = Math.min(download.window, this.#welcome!.limits.windowBytes);
    const transfer = this.#nextTransfer;
    this.#nextTransfer += 2;
    download.receiving = receiving(transfer, download.blob.bytes, {
      offset: download.held,
      window,
    });
    this.#send({
      type: "want",
      transfer,
      sha256: download.blob.sha256,
      offset: download.held,
      window,
    });
  }

  #receiveChunk(frame: Uint8Array): void {
    const { transfer, offset, bytes } = decodeChunk(frame);
    const [download] = this.#downloads;
    if (download?.receiving?.transfer !== transfer) {
      // One of ours that we gave up: its last chunks were already on their way.
      if (!isTheirs(transfer) && transfer < this.#nextTransfer) return;
      throw unknownTransfer(transfer);
    }
    let state = chunkReceived(download.receiving, {
      offset,
      length: bytes.length,
    });
    download.sink(bytes, offset);
    download.held = state.held;
    if (ackDue(state)) {
      state = ackSent(state);
      this.#send({ type: "ack", transfer, offset: state.held });
    }
    download.receiving = state;
    if (receivingDone(state)) {
      this.#downloads.shift();
      download.done();
      this.#want();
    }
  }

  #dropDownload(download: Download, code: string, message: string): void {
    const index = this.#downloads.indexOf(download);
    if (index < 0) return;
    this.#downloads.splice(index, 1);
    if (download.receiving !== undefined)
      this.tell({
        type: "abort",
        transfer: download.receiving.transfer,
        code: "cancelled",
      });
    download.failed(new ProtocolError(code, message));
    this.#want();
  }

  // The line itself.

  #send(message: OutgoingClientMessage): void {
    this.#transmit(encode(message));
  }

  #transmit(data: string | Uint8Array): void {
    this.#lastSent = performance.now();
    this.#socket?.send(data);
  }

  #problem(error: ProtocolError): void {
    this.#options.events.problem(error);
    if (++this.#problems > MAX_PROBLEMS) return this.#drop(1008, "too many wrong frames");
    this.#send({ type: "error", code: error.code, message: error.message });
  }

  /** Closes the line from here without waiting for the other end, which may be gone. */
  #drop(code: number, reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(code, reason);
    this.#lost(code, reason);
  }

  #lost(code: number, reason: string): void {
    const now = performance.now();
    if (this.isUp) this.#lastUp = now;
    this.#socket = undefined;
    this.#welcome = undefined;
    this.#nonce = "";
    for (const offered of this.#offers.values()) {
      clearTimeout(offered.retry);
      offered.sending = undefined;
    }
    for (const download of this.#downloads) download.receiving = undefined;
    // 1006: no close frame came.
    const message = printable(reason) || (code === 1006 ? "the line broke" : `closed with ${code}`);
    if (code === 4000) return this.#end("replaced", message);
    if (code === 4001) return this.#end("not-admitted", this.#complaint || message);
    if (code === 4003) return this.#end("version", this.#complaint || message);
    if (code === 1000 && this.#finished) return this.#end("finished", message);
    if (now - this.#lastUp >= (this.#options.patience ?? Infinity))
      return this.#end("unreachable", message);
    const chance = this.#options.chance ?? Math.random;
    const wait = Math.max(backOff(this.#failures++, chance()), this.#notBefore - now);
    this.#arm(wait, () => this.#dial());
    this.#options.events.lost(message, wait);
  }

  #end(reason: EndReason, message: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#welcome = undefined;
    socket?.close(1000, "");
    for (const { retry } of this.#offers.values()) clearTimeout(retry);
    this.#offers.clear();
    for (const download of this.#downloads.splice(0))
      download.failed(new ProtocolError("cancelled", message));
    this.#options.events.ended(reason, message);
  }

  #arm(milliseconds: number, task: () => void): void {
    clearTimeout(this.#timer);
    if (!this.#ended) this.#timer = setTimeout(task, milliseconds);
  }
}

/** The aggregator's transfers have even numbers, ours odd ones. */
const isTheirs = (transfer: number) => transfer % 2 === 0;

const outOfOrder = (type: string) =>
  new ProtocolError("out-of-order", `"${type}" expected at another time`);

const unknownTransfer = (transfer: number) =>
  new ProtocolError("unknown-transfer", `"transfer" expected one that is open, got ${transfer}`);
