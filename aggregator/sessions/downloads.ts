import type { Socket } from "../../runtime/platform/platform.js";
import { encodeChunk } from "../../runtime/protocol/chunks.js";
import type { ClientMessageOf } from "../../runtime/protocol/client-messages.js";
import type { OutgoingServerMessage } from "../../runtime/protocol/server-messages.js";
import {
  acknowledged,
  chunkSent,
  nextChunk,
  sending,
  sendingDone,
  type Sending,
} from "../../runtime/protocol/transfer.js";

/** Downloads that one connection may have open. */
export const DOWNLOADS = 2;
/** Bytes of a model in one frame. */
const CHUNK = 64 * 1024;
/** Bytes of models that may wait here for a connection to take them. */
const AHEAD = CHUNK;
/** Memory for frames of models, reused: a fleet downloads gigabytes. */
const spare: ArrayBuffer[] = [];
const SPARES = 64;

/** Finds a model that clients may fetch now. */
export interface ModelStore {
  bytesOf(sha256: string): Uint8Array | undefined;
}

/** The models that one connection fetches. */
interface Downloads {
  /** A client wants a model: it is sent, or the transfer is aborted. */
  want(message: ClientMessageOf<"want">): void;
  acknowledge(message: ClientMessageOf<"ack">): void;
  /** Ends a transfer. */
  abort(transfer: number): void;
  /** Sends more; call it when the connection has sent all it was given. */
  drained(): void;
  /** Ends all transfers. */
  close(): void;
}

export function openDownloads(options: {
  readonly connection: Pick<Socket, "bufferedAmount">;
  readonly models: ModelStore;
  readonly windowBytes: number;
  readonly write: (frame: Uint8Array) => void;
  readonly send: (message: OutgoingServerMessage) => void;
  readonly complain: (code: string, message: string) => void;
  /** A model cannot be sent, for this reason. */
  readonly refused: (sha256: string, code: string) => void;
}): Downloads {
  const { connection, windowBytes } = options;
  const downloads = new Map<number, { sending: Sending; readonly bytes: Uint8Array }>();
  /** Memory of frames that may still be in the socket's buffer. */
  const lent: ArrayBuffer[] = [];

  /** Takes back the memory of frames that have left, for any connection to use. */
  function takeBack(): void {
    for (const frame of lent.splice(0))
      if (spare.length < SPARES && frame.byteLength >= CHUNK) spare.push(frame);
  }

  /** Sends as much as windows and socket take; more would pile up here. */
  function pump(): void {
    for (const [transfer, download] of downloads) {
      const { bytes } = download;
      while (connection.bufferedAmount < AHEAD) {
        const next = nextChunk(download.sending, CHUNK);
        if (next === undefined) break;
        const { offset, length } = next;
        const chunk = { transfer, offset, bytes: bytes.subarray(offset, offset + length) };
        const frame = encodeChunk(chunk, spare.pop());
        // Earlier ones have left too, but which ones is not known.
        if (lent.push(frame.buffer) > 4) lent.shift();
        download.sending = chunkSent(download.sending, length);
        options.write(frame);
        if (connection.bufferedAmount === 0) takeBack();
      }
      if (sendingDone(download.sending)) downloads.delete(transfer);
    }
  }

  return {
    want({ transfer, sha256, offset, window }) {
      if (transfer % 2 === 0 || downloads.has(transfer))
        return options.complain(
          "bad-field",
          `"want.transfer" expected an odd number not used before, got ${transfer}`,
        );
      const bytes = options.models.bytesOf(sha256);
      if (bytes === undefined || downloads.size >= DOWNLOADS) {
        const code = bytes === undefined ? "unknown-blob" : "busy";
        options.refused(sha256, code);
        return options.send({ type: "abort", transfer, code });
      }
      const start = { offset, window: Math.min(window, windowBytes) };
      downloads.set(transfer, { bytes, sending: sending(transfer, bytes.length, start) });
      pump();
    },

    acknowledge({ transfer, offset }) {
      const download = downloads.get(transfer);
      // One that is over: its last acknowledgement crossed an abort, or came twice.
      if (download === undefined) return;
      download.sending = acknowledged(download.sending, offset);
      pump();
    },

    abort: (transfer) => void downloads.delete(transfer),

    drained() {
      takeBack();
      pump();
    },

    close: () => downloads.clear(),
  };
}
