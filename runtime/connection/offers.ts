import { ProtocolError } from "../errors.js";
import { CHUNK_HEADER_BYTES, encodeChunk } from "../protocol/chunks.js";
import type { OutgoingClientMessage } from "../protocol/client-messages.js";
import type { ServerMessageOf } from "../protocol/server-messages.js";
import { acknowledged, chunkSent, nextChunk, sending, type Sending } from "../protocol/transfer.js";
import { isTheirs, unknownTransfer, type Link } from "./link.js";
import type { BlobSource } from "./options.js";

/** Bytes of a blob per frame, where the aggregator allows as many. */
const CHUNK_BYTES = 64 * 1024;
/** Memory for frames of updates, of every connection whose socket copies what it sends. */
let frameMemory: ArrayBuffer | undefined;

/** A message that is repeated on each new link until it is settled. */
export type Standing = Extract<OutgoingClientMessage, { type: "offer" | "report" }>;

interface Offered {
  readonly message: Standing;
  readonly source?: BlobSource;
  sending?: Sending;
  retry?: ReturnType<typeof setTimeout>;
}

/** The offers and reports of a client that are not settled, and the updates on their way. */
export class Offers {
  readonly #offers = new Map<string, Offered>();
  readonly #up: () => Link | undefined;

  /** @param up the link while it is up */
  constructor(up: () => Link | undefined) {
    this.#up = up;
  }

  get size(): number {
    return this.#offers.size;
  }

  has(assignment: string): boolean {
    return this.#offers.has(assignment);
  }

  add(message: Standing, source?: BlobSource): void {
    this.settle(message.assignment);
    this.#offers.set(message.assignment, { message, source });
    this.#up()?.send(message);
  }

  /** Says one again. False where there is none. */
  repeat(assignment: string): boolean {
    const offered = this.#offers.get(assignment);
    if (offered !== undefined) this.#up()?.send(offered.message);
    return offered !== undefined;
  }

  /** Says all again, on a new link. */
  repeatAll(): void {
    for (const assignment of this.#offers.keys()) this.repeat(assignment);
  }

  /** Takes one back, or forgets one that was settled otherwise. */
  settle(assignment: string): void {
    const transfer = this.#offers.get(assignment)?.sending?.transfer;
    this.forget(assignment);
    if (transfer !== undefined) this.#up()?.send({ type: "abort", transfer, code: "cancelled" });
  }

  settleAll(): void {
    for (const assignment of [...this.#offers.keys()]) this.settle(assignment);
  }

  forget(assignment: string): void {
    clearTimeout(this.#offers.get(assignment)?.retry);
    this.#offers.delete(assignment);
  }

  /** An answer that settles a report, and tells of an update only that it has come. */
  received(assignment: string): void {
    if (this.#offers.get(assignment)?.message.type === "report") this.forget(assignment);
  }

  refused({ assignment, retryAfter }: ServerMessageOf<"refused">): void {
    if (retryAfter === null) return this.forget(assignment);
    const offered = this.#offers.get(assignment);
    if (offered === undefined) return;
    offered.sending = undefined;
    clearTimeout(offered.retry);
    offered.retry = setTimeout(() => this.#up()?.send(offered.message), retryAfter);
  }

  /** Begins to send an update. @throws ProtocolError `over-window` */
  granted(link: Link, grant: ServerMessageOf<"grant">): void {
    const { windowBytes } = link.welcome!.limits;
    const { assignment, transfer, window } = grant;
    if (window > windowBytes)
      throw new ProtocolError(
        "over-window",
        `"grant.window" expected at most ${windowBytes}, got ${window}`,
      );
    const offered = this.#offers.get(assignment);
    if (offered?.source === undefined || offered.message.type !== "offer")
      return link.send({ type: "abort", transfer, code: "unknown-blob" });
    offered.sending = sending(transfer, offered.message.bytes, grant);
    pump(link, offered);
  }

  /** @throws ProtocolError `unknown-transfer`, and as `acknowledged` */
  acknowledged(link: Link, { transfer, offset }: ServerMessageOf<"ack">): void {
    for (const offered of this.#offers.values())
      if (offered.sending?.transfer === transfer) {
        offered.sending = acknowledged(offered.sending, offset);
        return pump(link, offered);
      }
    if (!isTheirs(transfer)) throw unknownTransfer(transfer);
  }

  /** The other end broke a transfer off. The offer stands: another grant may follow. */
  aborted(transfer: number): void {
    for (const offered of this.#offers.values())
      if (offered.sending?.transfer === transfer) offered.sending = undefined;
  }

  /** The link is lost: transfers end, and are granted again on the next. */
  lost(): void {
    for (const offered of this.#offers.values()) {
      clearTimeout(offered.retry);
      offered.sending = undefined;
    }
  }

  end(): void {
    this.lost();
    this.#offers.clear();
  }
}

/** Sends as much of an update as the aggregator's window has room for. */
function pump(link: Link, offered: Offered): void {
  const limit = Math.min(CHUNK_BYTES, link.welcome!.limits.frameBytes - CHUNK_HEADER_BYTES);
  while (offered.sending !== undefined && offered.source !== undefined) {
    const next = nextChunk(offered.sending, limit);
    if (next === undefined) return;
    const { offset, length } = next;
    const { transfer } = offered.sending;
    const chunk = { transfer, offset, bytes: offered.source(offset, length) };
    const frame = encodeChunk(chunk, link.copies ? frameMemory : undefined);
    if (link.copies) frameMemory = frame.buffer;
    link.transmit(frame);
    offered.sending = chunkSent(offered.sending, length);
  }
}
