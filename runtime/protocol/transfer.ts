import { ProtocolError } from "../errors.js";

/**
 * A blob on its way over one connection, as two records that functions advance. Nothing here knows
 * bytes, sockets or clocks. The receiver names the transfer, the offset to begin at and the window
 * (`grant`, or `want`); the sender sends contiguous chunks with at most `window` bytes
 * unacknowledged; acknowledgements are cumulative. When a connection breaks, both records are
 * dropped, and the receiver begins a new transfer at the offset it holds. The hash of the whole is
 * for the owner to check.
 */

/** The sending end of one transfer. */
export interface Sending {
  readonly transfer: number;
  /** Length of the whole blob. */
  readonly bytes: number;
  readonly window: number;
  /** Everything before this offset has been sent. */
  readonly sent: number;
  /** Everything before this offset has been acknowledged. */
  readonly acknowledged: number;
}

/** Begins to send at the offset that the receiver named. @throws ProtocolError `bad-offset`. */
export function sending(
  transfer: number,
  bytes: number,
  { offset, window }: { readonly offset: number; readonly window: number },
): Sending {
  if (offset > bytes) throw badOffset(transfer, `at most ${bytes}`, offset);
  return { transfer, bytes, window, sent: offset, acknowledged: offset };
}

/**
 * The next chunk to send, of at most `limit` bytes, or undefined while the window is full or all
 * has been sent.
 */
export function nextChunk(
  state: Sending,
  limit: number,
): { readonly offset: number; readonly length: number } | undefined {
  const length = Math.min(
    limit,
    state.bytes - state.sent,
    state.acknowledged + state.window - state.sent,
  );
  return length > 0 ? { offset: state.sent, length } : undefined;
}

/** The sender's record after the chunk that `nextChunk` named has been given to the connection. */
export const chunkSent = (state: Sending, length: number): Sending => ({
  ...state,
  sent: state.sent + length,
});

/**
 * The sender's record after an `ack`. @throws ProtocolError `bad-offset` for one that runs back or
 * ahead of what was sent.
 */
export function acknowledged(state: Sending, offset: number): Sending {
  if (offset < state.acknowledged || offset > state.sent)
    throw badOffset(state.transfer, `an ack from ${state.acknowledged} to ${state.sent}`, offset);
  return { ...state, acknowledged: offset };
}

export const sendingDone = (state: Sending): boolean => state.acknowledged === state.bytes;

/** The receiving end of one transfer. */
export interface Receiving {
  readonly transfer: number;
  readonly bytes: number;
  readonly window: number;
  /** Everything before this offset is here. */
  readonly held: number;
  /** The last `ack` sent. */
  readonly acknowledged: number;
}

/**
 * Begins to receive at `offset`, with the transfer id and window that the receiver gives to the
 * sender.
 */
export const receiving = (
  transfer: number,
  bytes: number,
  { offset, window }: { readonly offset: number; readonly window: number },
): Receiving => ({
  transfer,
  bytes,
  window,
  held: offset,
  acknowledged: offset,
});

/**
 * The receiver's record after a chunk.
 * @throws ProtocolError `bad-offset` where the chunk does not continue what is held or passes the blob's end,
 * `over-window` where the sender did not wait for acknowledgements. Nothing of such a chunk may be used.
 */
export function chunkReceived(
  state: Receiving,
  chunk: { readonly offset: number; readonly length: number },
): Receiving {
  const end = chunk.offset + chunk.length;
  if (chunk.offset !== state.held)
    throw badOffset(state.transfer, `a chunk at ${state.held}`, chunk.offset);
  if (end > state.bytes) throw badOffset(state.transfer, `an end at most ${state.bytes}`, end);
  if (end > state.acknowledged + state.window)
    throw new ProtocolError(
      "over-window",
      `"transfer ${state.transfer}" expected at most ${state.window} bytes unacknowledged, got ${end - state.acknowledged}`,
    );
  return { ...state, held: end };
}

/** Whether to send an `ack` now: half of the window is waiting for it, or all is here. */
export const ackDue = (state: Receiving): boolean =>
  state.held > state.acknowledged &&
  (state.held === state.bytes || 2 * (state.held - state.acknowledged) >= state.window);

/** The receiver's record after it has sent an `ack` of `state.held`. */
export const ackSent = (state: Receiving): Receiving => ({
  ...state,
  acknowledged: state.held,
});

export const receivingDone = (state: Receiving): boolean => state.held === state.bytes;

const badOffset = (transfer: number, expected: string, got: number) =>
  new ProtocolError("bad-offset", `"transfer ${transfer}" expected ${expected}, got ${got}`);
