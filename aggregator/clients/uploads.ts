import type { Chunk } from "../../runtime/protocol/chunks.js";
import {
  ackDue,
  ackSent,
  chunkReceived,
  receiving,
  receivingDone,
  type Receiving,
} from "../../runtime/protocol/transfer.js";
import { ProtocolError } from "../../runtime/errors.js";
import type { Session } from "../sessions/session.js";
import { measure, newUpload, type OfferedUpdate, type Upload } from "./upload.js";
import { openUploadBudget } from "./upload-budget.js";

export type { OfferedUpdate } from "./upload.js";

/**
 * Updates on their way in. Nothing is received before it was granted, and grants come from one byte
 * budget, so the memory is bounded however many clients offer at once: an upload holds its bytes
 * from `grant` until it is folded or dropped.
 *
 * While others wait, an upload gives its room up (`abort` `evicted`) and waits again if it hardly
 * moves, or cannot be whole in time at its pace; and where nobody who waits has been given room for
 * twice `stall` ms, the one that would take longest does. So the fastest connections go first, one
 * that is just fast enough delays nobody, and among equally fast ones the one nearest to its end
 * finishes.
 */
export interface Uploads {
  /** A client offers an update, for the first time or again after its connection broke. */
  offer(session: Session, offered: OfferedUpdate): void;
  chunk(session: Session, chunk: Chunk): void;
  /** The client gives up a transfer. */
  aborted(session: Session, transfer: number): void;
  sessionClosed(session: Session): void;
  /**
   * The update is folded, or of no use: its room is free once `unread`, the last look at its bytes,
   * is over.
   */
  release(assignment: string, unread?: Promise<unknown>): void;
  /** Lets go of the memory, when no upload is in it. */
  trim(): void;
  /** Bytes of the budget that are taken. */
  readonly taken: number;
  /** Checks who has to give way; call it now and then. */
  sweep(now: number): void;
}

/** Which upload is on which connection, and the transfers on it that the aggregator has ended. */
interface Transfers {
  /** Moves an upload to this session. */
  attach(upload: Upload, session: Session): void;
  /** Ends the transfer and keeps what has been received. */
  detach(upload: Upload): void;
  /** Ends the transfer and tells the client. */
  abort(upload: Upload, code: string): void;
  /** Whether the aggregator has ended this transfer: what still arrives of it is dropped. */
  hasEnded(session: Session, transfer: number): boolean;
  find(session: Session, transfer: number): Upload | undefined;
  uploadsOf(session: Session): Upload[];
  closed(session: Session): void;
}

function openTransfers(): Transfers {
  const bySession = new Map<Session, { uploads: Set<Upload>; ended: Set<number> }>();

  function detach(upload: Upload): void {
    if (upload.session) bySession.get(upload.session)?.uploads.delete(upload);
    upload.session = undefined;
    upload.receiving = undefined;
  }

  return {
    detach,
    attach(upload, session) {
      detach(upload);
      let own = bySession.get(session);
      if (own === undefined)
        bySession.set(session, (own = { uploads: new Set(), ended: new Set() }));
      own.uploads.add(upload);
      upload.session = session;
    },
    abort({ session, receiving }, code) {
      if (session === undefined || receiving === undefined) return;
      const { transfer } = receiving;
      bySession.get(session)?.ended.add(transfer);
      session.send({ type: "abort", transfer, code });
    },
    hasEnded: (session, transfer) => bySession.get(session)?.ended.has(transfer) ?? false,
    find(session, transfer) {
      for (const upload of bySession.get(session)?.uploads ?? [])
        if (upload.receiving?.transfer === transfer) return upload;
      return undefined;
    },
    uploadsOf: (session) => [...(bySession.get(session)?.uploads ?? [])],
    closed: (session) => void bySession.delete(session),
  };
}

export interface UploadOptions {
  readonly budgetBytes: number;
  readonly windowBytes: number;
  /** Milliseconds over which the pace of an upload is measured. */
  readonly stall: number;
  /** Bytes a second below which an upload counts as one that does not move. */
  readonly minimumRate: number;
  /** An update has arrived whole; its bytes stay as they are until `release`. */
  readonly arrived: (upload: OfferedUpdate, bytes: Uint8Array) => void;
  /** An upload lost its room. */
  readonly evicted: (assignment: string) => void;
}

export function openUploads(options: UploadOptions): Uploads {
  const { windowBytes, stall } = options;
  const uploads = new Map<string, Upload>();
  const transfers = openTransfers();
  const { attach, abort, find } = transfers;
  const budget = openUploadBudget({
    ...options,
    grant: (upload) => grant(upload, upload.session!),
    evict(upload) {
      abort(upload, "evicted");
      upload.receiving = undefined;
      options.evicted(upload.assignment);
    },
  });

  function detach(upload: Upload): void {
    budget.leave(upload);
    transfers.detach(upload);
  }

  function grant(upload: Upload, session: Session): void {
    const transfer = session.nextUpload();
    const begin = { offset: upload.held, window: windowBytes };
    upload.receiving = receiving(transfer, upload.bytes, begin);
    session.send({ type: "grant", assignment: upload.assignment, transfer, ...begin });
  }

  return {
    offer(session, { assignment, sha256, bytes, due }) {
      let upload = uploads.get(assignment);
      if (upload?.whole) return;
      if (upload?.session === session && upload.receiving !== undefined) return;
      if (upload === undefined) {
        upload = newUpload({ assignment, sha256, bytes, due });
        uploads.set(assignment, upload);
      }
      budget.leave(upload);
      attach(upload, session);
      // An upload cut off by a lost connection still has its memory: resume it.
      if (upload.buffer !== undefined) return grant(upload, session);
      budget.wait(upload);
      if (upload.receiving === undefined)
        session.send({ type: "wait", assignment, reason: "Other updates are on their way in." });
    },

    chunk(session, { transfer, offset, bytes }) {
      if (transfers.hasEnded(session, transfer)) return;
      const upload = find(session, transfer);
      if (upload?.receiving === undefined || upload.buffer === undefined)
        throw new ProtocolError(
          "unknown-transfer",
          `"transfer" expected one that was granted, got ${transfer}`,
        );
      let state: Receiving;
      try {
        state = chunkReceived(upload.receiving, { offset, length: bytes.length });
      } catch (error) {
        if (error instanceof ProtocolError && error.code === "over-window") {
          abort(upload, "other");
          detach(upload);
        }
        throw error;
      }
      upload.buffer.set(bytes, offset);
      upload.held = state.held;
      measure(upload, stall, performance.now());
      if (ackDue(state)) {
        session.send({ type: "ack", transfer, offset: state.held });
        state = ackSent(state);
      }
      upload.receiving = state;
      if (receivingDone(state)) {
        upload.whole = true;
        upload.receiving = undefined;
        budget.settle(upload);
        options.arrived(upload, upload.buffer);
      }
    },

    aborted(session, transfer) {
      const upload = find(session, transfer);
      if (upload !== undefined) detach(upload);
    },

    sessionClosed(session) {
      for (const upload of transfers.uploadsOf(session)) detach(upload);
      transfers.closed(session);
      budget.grantAll();
    },

    release(assignment, unread) {
      const upload = uploads.get(assignment);
      if (upload === undefined) return;
      abort(upload, "cancelled");
      detach(upload);
      budget.settle(upload);
      uploads.delete(assignment);
      const freed = () => budget.free(upload);
      if (unread === undefined) freed();
      else void unread.then(freed, freed);
    },

    sweep: budget.sweep,
    trim: budget.trim,

    get taken() {
      return budget.taken;
    },
  };
}
