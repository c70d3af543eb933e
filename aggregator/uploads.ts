import type { Chunk } from "../runtime/protocol/chunks.js";
import {
  ackDue,
  ackSent,
  chunkReceived,
  receiving,
  receivingDone,
  type Receiving,
} from "../runtime/protocol/transfer.js";
import { ProtocolError } from "../runtime/errors.js";
import type { Session } from "./session.js";

/**
 * Updates on their way in. Nothing is received before it was granted, and grants come from one byte budget, so however many
 * clients offer at once, the memory is bounded: an upload holds its bytes from `grant` until it is folded or dropped.
 * When others wait, one that has not moved for `stall` ms loses its room (`abort` `evicted`) and waits again.
 */
export interface Uploads {
  /** A client offers an update, for the first time or again after its line broke. */
  offer(session: Session, offered: OfferedUpdate): void;
  chunk(session: Session, chunk: Chunk): void;
  /** The client gives a transfer up. */
  aborted(session: Session, transfer: number): void;
  lineClosed(session: Session): void;
  /** The update is folded, or of no use any more: its room is free. */
  release(assignment: string): void;
  /** Bytes of the budget that are taken. */
  readonly taken: number;
  /** Looks for stalled uploads; to be called now and then. */
  sweep(now: number): void;
}

export interface OfferedUpdate {
  readonly assignment: string;
  readonly sha256: string;
  readonly bytes: number;
}

interface Upload extends OfferedUpdate {
  /** The line to send `grant` on; none while the client is away. */
  session: Session | undefined;
  /** Its room in the budget, from the grant on. */
  buffer: Uint8Array | undefined;
  /** Bytes here. */
  held: number;
  receiving: Receiving | undefined;
  /** All bytes have been handed on. */
  whole: boolean;
  /** When it last moved, at the least rate demanded, and what was here then. */
  moved: number;
  movedTo: number;
}

export function openUploads(options: {
  readonly budgetBytes: number;
  readonly windowBytes: number;
  readonly stall: number;
  /** Bytes a second below which an upload counts as one that does not move. */
  readonly minimumRate: number;
  /** An update has arrived whole; its bytes are given away, its room is held until `release`. */
  readonly arrived: (upload: OfferedUpdate, bytes: Uint8Array) => void;
  /** An upload lost its room. */
  readonly evicted: (assignment: string) => void;
}): Uploads {
  const { budgetBytes, windowBytes, stall, minimumRate } = options;
  const uploads = new Map<string, Upload>();
  /** Transfers that we ended: what is still on its way is dropped in silence. */
  const ended = new WeakMap<Session, Set<number>>();
  let taken = 0;

  function abort({ session, receiving }: Upload, code: string): void {
    if (session === undefined || receiving === undefined) return;
    const { transfer } = receiving;
    ended.set(session, (ended.get(session) ?? new Set()).add(transfer));
    session.send({ type: "abort", transfer, code });
  }

  /** Ends the transfer and keeps what is here. */
  function detach(upload: Upload): void {
    upload.session = undefined;
    upload.receiving = undefined;
  }

  function evict(upload: Upload): void {
    abort(upload, "evicted");
    upload.receiving = undefined;
    upload.buffer = undefined;
    upload.held = 0;
    taken -= upload.bytes;
    // To the end of the line.
    uploads.delete(upload.assignment);
    uploads.set(upload.assignment, upload);
    options.evicted(upload.assignment);
  }

  /** One whose room is better given to another: its client is away, or it does not move. */
  const stalled = (now: number): Upload | undefined => {
    const partial = [...uploads.values()].filter(
      ({ buffer, whole }) => buffer !== undefined && !whole,
    );
    return (
      partial.find(({ session }) => session === undefined) ??
      partial.find(({ moved }) => now - moved > stall)
    );
  };

  function hasRoom(bytes: number, now: number): boolean {
    while (taken + bytes > budgetBytes) {
      const victim = stalled(now);
      if (victim === undefined) return false;
      evict(victim);
    }
    return true;
  }

  function grant(upload: Upload, session: Session): void {
    upload.buffer ??= new Uint8Array(upload.bytes);
    upload.moved = performance.now();
    upload.movedTo = upload.held;
    const transfer = session.nextUpload();
    const begin = { offset: upload.held, window: windowBytes };
    upload.receiving = receiving(transfer, upload.bytes, begin);
    session.send({
      type: "grant",
      assignment: upload.assignment,
      transfer,
      ...begin,
    });
  }

  /** Grants to those who wait, in their order, as far as the budget goes. */
  function grantAll(): void {
    const now = performance.now();
    for (const upload of [...uploads.values()]) {
      const { session, receiving, whole, buffer, bytes } = upload;
      if (session === undefined || receiving !== undefined || whole) continue;
      if (buffer === undefined) {
        if (!hasRoom(bytes, now)) return;
        taken += bytes;
      }
      grant(upload, session);
    }
  }

  const find = (session: Session, transfer: number): Upload | undefined => {
    for (const upload of uploads.values())
      if (upload.session === session && upload.receiving?.transfer === transfer)
        return upload;
    return undefined;
  };

  return {
    offer(session, { assignment, sha256, bytes }) {
      let upload = uploads.get(assignment);
      if (upload?.whole) return;
      if (upload?.session === session && upload.receiving !== undefined) return;
      if (upload === undefined) {
        upload = {
          assignment,
          sha256,
          bytes,
          session,
          buffer: undefined,
          held: 0,
          receiving: undefined,
          whole: false,
          moved: 0,
          movedTo: 0,
        };
        uploads.set(assignment, upload);
      }
      upload.session = session;
      upload.receiving = undefined;
      grantAll();
      if (upload.receiving === undefined && !upload.whole)
        session.send({
          type: "wait",
          assignment,
          reason: "Other updates are on their way in.",
        });
    },

    chunk(session, { transfer, offset, bytes }) {
      if (ended.get(session)?.has(transfer)) return;
      const upload = find(session, transfer);
      if (upload?.receiving === undefined || upload.buffer === undefined)
        throw new ProtocolError(
          "unknown-transfer",
          `"transfer" expected one that was granted, got ${transfer}`,
        );
      let state: Receiving;
      try {
        state = chunkReceived(upload.receiving, {
          offset,
          length: bytes.length,
        });
      } catch (error) {
        if (error instanceof ProtocolError && error.code === "over-window") {
          abort(upload, "other");
          detach(upload);
        }
        throw error;
      }
      upload.buffer.set(bytes, offset);
      upload.held = state.held;
      const now = performance.now();
      const demanded = (minimumRate * (now - upload.moved)) / 1000;
      if (upload.held - upload.movedTo >= demanded) {
        upload.moved = now;
        upload.movedTo = upload.held;
      }
      if (ackDue(state)) {
        session.send({ type: "ack", transfer, offset: state.held });
        state = ackSent(state);
      }
      upload.receiving = state;
      if (receivingDone(state)) {
        const whole = upload.buffer;
        upload.whole = true;
        upload.receiving = undefined;
        upload.buffer = undefined;
        options.arrived(upload, whole);
      }
    },

    aborted(session, transfer) {
      const upload = find(session, transfer);
      if (upload !== undefined) detach(upload);
    },

    lineClosed(session) {
      for (const upload of uploads.values())
        if (upload.session === session) detach(upload);
      grantAll();
    },

    release(assignment) {
      const upload = uploads.get(assignment);
      if (upload === undefined) return;
      abort(upload, "cancelled");
      uploads.delete(assignment);
      if (upload.buffer !== undefined || upload.whole) taken -= upload.bytes;
      grantAll();
    },

    sweep: () => grantAll(),

    get taken() {
      return taken;
    },
  };
}
