import { ProtocolError } from "../errors.js";
import { decodeChunk } from "../protocol/chunks.js";
import type { BlobName } from "../protocol/fields.js";
import {
  ackDue,
  ackSent,
  chunkReceived,
  receiving,
  receivingDone,
  type Receiving,
} from "../protocol/transfer.js";
import { isTheirs, unknownTransfer, type Link } from "./link.js";

/** Unacknowledged bytes of a model on its way here. */
const WINDOW_BYTES = 512 * 1024;

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

/** The blobs that a client fetches, one after the other, over any number of links. */
export class Downloads {
  readonly #downloads: Download[] = [];
  readonly #up: () => Link | undefined;
  #nextTransfer = 1;
  #ended = false;

  /** @param up the link while it is up */
  constructor(up: () => Link | undefined) {
    this.#up = up;
  }

  /** As `Connection.fetch`. */
  fetch(
    blob: BlobName,
    sink: (bytes: Uint8Array, offset: number) => void,
    signal?: AbortSignal,
    window = WINDOW_BYTES,
  ): Promise<void> {
    if (this.#ended || signal?.aborted)
      return Promise.reject(new ProtocolError("cancelled", "fetch: the connection is closed"));
    let cancel: () => void;
    return new Promise<void>((done, failed) => {
      const download: Download = { blob, sink, window, held: 0, done, failed };
      cancel = () => this.#drop(download, "cancelled", "the fetch was cancelled");
      signal?.addEventListener("abort", cancel);
      this.#downloads.push(download);
      this.want();
    }).finally(() => signal?.removeEventListener("abort", cancel));
  }

  /** Asks for the first one, if the link is up and it is not on its way. */
  want(): void {
    const [download] = this.#downloads;
    const link = this.#up();
    if (link === undefined || download === undefined || download.receiving) return;
    const { blob, held: offset } = download;
    const window = Math.min(download.window, link.welcome!.limits.windowBytes);
    const transfer = this.#nextTransfer;
    this.#nextTransfer += 2;
    download.receiving = receiving(transfer, blob.bytes, { offset, window });
    link.send({ type: "want", transfer, sha256: blob.sha256, offset, window });
  }

  /** Takes bytes in. @throws ProtocolError `unknown-transfer`, and as `decodeChunk`, `chunkReceived` */
  chunk(frame: Uint8Array): void {
    const { transfer, offset, bytes } = decodeChunk(frame);
    const [download] = this.#downloads;
    if (download?.receiving?.transfer !== transfer) {
      // A transfer that this end gave up: its last chunks were already on their way.
      if (!isTheirs(transfer) && transfer < this.#nextTransfer) return;
      throw unknownTransfer(transfer);
    }
    let state = chunkReceived(download.receiving, { offset, length: bytes.length });
    download.sink(bytes, offset);
    download.held = state.held;
    if (ackDue(state)) {
      state = ackSent(state);
      this.#up()?.send({ type: "ack", transfer, offset: state.held });
    }
    download.receiving = state;
    if (receivingDone(state)) {
      this.#downloads.shift();
      download.done();
      this.want();
    }
  }

  /** The other end broke a transfer off. */
  aborted(transfer: number, code: string): void {
    const [download] = this.#downloads;
    if (download?.receiving?.transfer !== transfer) return;
    download.receiving = undefined;
    this.#drop(download, code, `"${download.blob.sha256}" expected to be sent, got ${code}`);
  }

  /** The link is lost: the next one begins where this one ended. */
  lost(): void {
    this.#nextTransfer = 1;
    for (const download of this.#downloads) download.receiving = undefined;
  }

  end(message: string): void {
    this.#ended = true;
    for (const download of this.#downloads.splice(0))
      download.failed(new ProtocolError("cancelled", message));
  }

  #drop(download: Download, code: string, message: string): void {
    const index = this.#downloads.indexOf(download);
    if (index < 0) return;
    this.#downloads.splice(index, 1);
    const transfer = download.receiving?.transfer;
    if (transfer !== undefined) this.#up()?.send({ type: "abort", transfer, code: "cancelled" });
    download.failed(new ProtocolError(code, message));
    this.want();
  }
}
