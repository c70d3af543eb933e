import type { OutgoingClientMessage } from "../protocol/client-messages.js";
import type { BlobName } from "../protocol/fields.js";
import type { ServerMessage, ServerMessageOf } from "../protocol/server-messages.js";
import { printable } from "../protocol/printable.js";
import { backOff } from "./back-off.js";
import { Downloads } from "./downloads.js";
import { Link, type LinkOwner } from "./link.js";
import { Offers, type Standing } from "./offers.js";
import type { BlobSource, ConnectionOptions, EndReason } from "./options.js";

export type * from "./options.js";

/**
 * A client's connection to the aggregator, kept up over any number of links: dials again with
 * full-jitter back-off, continues broken transfers, and repeats offers and reports until they are
 * settled. It knows nothing of training. One timer at a time and no buffers of its own, so that one
 * process holds thousands.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #offers: Offers;
  readonly #downloads: Downloads;
  #link?: Link;
  #run?: string;
  #timer?: ReturnType<typeof setTimeout>;
  #failures = 0;
  #notBefore = 0;
  /** When it was last up, or first dialled. */
  #lastUp = 0;
  #available: true | string | undefined = "starting";
  #declines?: string;
  #finished = false;
  #ended = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#run = options.run;
    const up = () => (this.isUp ? this.#link : undefined);
    this.#offers = new Offers(up);
    this.#downloads = new Downloads(up);
  }

  /** Whether messages can be sent now. */
  get isUp(): boolean {
    return this.#link?.welcome !== undefined;
  }

  /** Dials, and from now on keeps the connection up. */
  start(): void {
    this.#lastUp = performance.now();
    this.#dial();
  }

  /**
   * Ready for assignments, busy and why, or not known yet, of which nothing is said. Holds until the
   * next call, over any number of links.
   * @param code what an assignment would be declined for, where that will not change by itself
   */
  available(available: true | string | undefined, code?: string): void {
    if (available === this.#available) return;
    this.#available = available;
    this.#declines = code;
    this.#sayAvailability();
  }

  /** Sends a message if the connection is up; it is not repeated if it is lost. */
  tell(message: OutgoingClientMessage): boolean {
    if (!this.isUp) return false;
    this.#link?.send(message);
    return true;
  }

  /**
   * Offers an update, or reports an evaluation, now and after each new `welcome`, until it is
   * settled: `committed`, refused for good, for a report `received`, or taken back by `settle`.
   */
  offer(message: Standing, source?: BlobSource): void {
    this.#offers.add(message, source);
  }

  /** Says an offer or report again that is not settled. False where there is none. */
  repeat(assignment: string): boolean {
    return this.#offers.repeat(assignment);
  }

  /** Takes an offer back, or forgets one that was settled otherwise. */
  settle(assignment: string): void {
    this.#offers.settle(assignment);
  }

  /**
   * Fetches a blob over any number of links, one blob at a time. `sink` is given its bytes in order.
   * Its hash is for the caller to check.
   * @param window most bytes on their way at once
   * @throws ProtocolError with the code of an `abort` (`unknown-blob`), or `cancelled` through the
   * signal or the connection's end
   */
  fetch(
    blob: BlobName,
    sink: (bytes: Uint8Array, offset: number) => void,
    signal?: AbortSignal,
    window?: number,
  ): Promise<void> {
    return this.#downloads.fetch(blob, sink, signal, window);
  }

  /** Gives the link up, and dials another after so many milliseconds. */
  redial(reason: string, wait: number): void {
    this.#notBefore = performance.now() + wait;
    this.#link?.drop(1000, reason);
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
    const owner: LinkOwner = {
      run: () => this.#run,
      enter: (run) => this.#enter(run),
      opened: (welcome) => this.#opened(welcome),
      message: (message) => this.#handle(message),
      chunk: (frame) => this.#downloads.chunk(frame),
      lost: (code, reason) => this.#lost(code, reason),
      end: (reason, message) => this.#end(reason, message),
    };
    this.#link = new Link(this.#options, owner);
  }

  /**
   * The aggregator is in another run than we thought, and offers belong to a run. Where we have
   * records of this other one, hello must say so: dials again with them.
   */
  async #enter(run: string): Promise<boolean> {
    const link = this.#link!;
    const first = this.#run === undefined && this.#offers.size === 0;
    this.#offers.settleAll();
    this.#run = run;
    const { counted, pending = [] } = await this.#options.introduce(run);
    if (this.#link !== link) return false;
    if (first && !counted && pending.length === 0) return true;
    link.close(1000, "another run");
    this.#dial();
    return false;
  }

  #opened(welcome: ServerMessageOf<"welcome">): void {
    this.#failures = 0;
    this.#notBefore = 0;
    this.#options.events.welcome(welcome);
    this.#offers.repeatAll();
    this.#sayAvailability();
    this.#downloads.want();
  }

  #sayAvailability(): void {
    if (this.#available === undefined) return;
    this.tell(
      this.#available === true
        ? { type: "ready" }
        : { type: "busy", reason: this.#available, code: this.#declines },
    );
  }

  #handle(message: ServerMessage): void {
    const link = this.#link!;
    switch (message.type) {
      case "challenge":
      case "welcome":
      case "ping":
      case "pong":
        // The link's own.
        return;
      case "error":
        return this.#misunderstood(message);
      case "grant":
        return this.#offers.granted(link, message);
      case "ack":
        return this.#offers.acknowledged(link, message);
      case "abort":
        this.#offers.aborted(message.transfer);
        return this.#downloads.aborted(message.transfer, message.code);
      case "wait":
        if (message.retryAfter !== null) this.#notBefore = performance.now() + message.retryAfter;
        break;
      case "received":
        this.#offers.received(message.assignment);
        break;
      case "committed":
        this.#offers.forget(message.assignment);
        break;
      case "refused":
        this.#offers.refused(message);
        break;
      case "finished":
        this.#finished = true;
        break;
      case "assign":
        // There is work, so the time to come back that was told before no longer holds.
        this.#notBefore = 0;
        break;
    }
    this.#options.events.message(message);
  }

  /** What the aggregator could not read once it will never read: the work ends at both ends. */
  #misunderstood({ assignment, message }: ServerMessageOf<"error">): void {
    if (!this.isUp || assignment === null || !this.#offers.has(assignment)) return;
    this.#offers.forget(assignment);
    const code = "other";
    this.tell({ type: "failed", assignment, code, message: message.slice(0, 1024) });
    this.#options.events.message({ type: "refused", assignment, code, message, retryAfter: null });
  }

  #lost(code: number, reason: string): void {
    const now = performance.now();
    const { patience = Infinity, chance = Math.random, events } = this.#options;
    const complaint = this.#link?.complaint;
    if (this.isUp) this.#lastUp = now;
    this.#link = undefined;
    this.#offers.lost();
    this.#downloads.lost();
    // 1006: no close frame came.
    const message =
      printable(reason) || (code === 1006 ? "the connection broke" : `closed with ${code}`);
    if (code === 4000) return this.#end("replaced", message);
    if (code === 4001) return this.#end("not-admitted", complaint || message);
    if (code === 4003) return this.#end("version", complaint || message);
    if (code === 1000 && this.#finished) return this.#end("finished", message);
    if (now - this.#lastUp >= patience) return this.#end("unreachable", message);
    const wait = Math.max(backOff(this.#failures++, chance()), this.#notBefore - now);
    this.#timer = setTimeout(() => this.#dial(), wait);
    events.lost(message, wait);
  }

  #end(reason: EndReason, message: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    const link = this.#link;
    this.#link = undefined;
    link?.close(1000, "");
    this.#offers.end();
    this.#downloads.end(message);
    this.#options.events.ended(reason, message);
  }
}
