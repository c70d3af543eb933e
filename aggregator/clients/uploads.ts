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
import { FROM_SYSTEM } from "../../runtime/tensors/memory.js";
import type { Session } from "../sessions/session.js";

/**
 * Updates on their way in. Nothing is received before it was granted, and grants come from one byte
 * budget, so however many clients offer at once, the memory is bounded: an upload holds its bytes
 * from `grant` until it is folded or dropped. They lie in shared memory that a worker can read
 * where it is, and that the next upload takes over: to free and allocate as much for each one would
 * keep several times the budget waiting for the garbage collector.
 *
 * While others wait, one gives its room up (`abort` `evicted`) and waits again: it hardly moves, or
 * at its pace cannot be whole when it is due; and where nobody who waits has been given room for
 * twice `stall` ms, the one that would take longest. So the fastest connections go first, one that
 * is just fast enough delays nobody, and among equally fast ones the one nearest to its end
 * finishes.
 */
export interface Uploads {
  /** A client offers an update, for the first time or again after its connection broke. */
  offer(session: Session, offered: OfferedUpdate): void;
  chunk(session: Session, chunk: Chunk): void;
  /** The client gives a transfer up. */
  aborted(session: Session, transfer: number): void;
  sessionClosed(session: Session): void;
  /**
   * The update is folded, or of no use any more: its room is free once `unread`, the last look at
   * its bytes, is over.
   */
  release(assignment: string, unread?: Promise<unknown>): void;
  /** Lets go of the memory that no upload is in. */
  trim(): void;
  /** Bytes of the budget that are taken. */
  readonly taken: number;
  /** Looks who has to give way; to be called now and then. */
  sweep(now: number): void;
}

export interface OfferedUpdate {
  readonly assignment: string;
  readonly sha256: string;
  readonly bytes: number;
  /** When it is of no use any more, in the time of `performance.now()`. */
  readonly due: number;
}

interface Upload extends OfferedUpdate {
  /** The session to send `grant` on; none while the client is away. */
  session: Session | undefined;
  /** Its room in the budget, from the grant on. */
  buffer: Uint8Array | undefined;
  /** Bytes here. */
  held: number;
  receiving: Receiving | undefined;
  /** All bytes have been handed on. */
  whole: boolean;
  /** Since when its pace is being measured, and what was here then. */
  measured: number;
  measuredAt: number;
  /** Bytes a second, over the last `stall` ms that were measured; undefined before that. */
  pace: number | undefined;
}

/** The uploads of one session. */
interface Transfers {
  readonly uploads: Set<Upload>;
  /** Transfers that we ended: what is still on its way is dropped in silence. */
  readonly ended: Set<number>;
}

/** The most memory for uploads that is taken at a time, in bytes. */
const ROOM = 64 * 1024 * 1024;
/** Memory that nobody uses is kept this long, in milliseconds. */
const KEEP_BUFFERS = 10_000;

export function openUploads(options: {
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
}): Uploads {
  const { budgetBytes, windowBytes, stall, minimumRate } = options;
  const uploads = new Map<string, Upload>();
  const bySession = new Map<Session, Transfers>();
  /** Those that can be granted as soon as there is room, in their order. */
  const waiting = new Set<Upload>();
  /** Those that have room and are not whole. */
  const partial = new Set<Upload>();
  /** Where uploads lie, end to end: parts of one memory, all as long as the run's updates are. */
  let room: SharedArrayBuffer | undefined;
  /** Parts of it that were given out, and those of them that nobody uses now. */
  let parts = 0;
  let free: Uint8Array[] = [];
  let taken = 0;
  let used = 0;
  /** When one who waited was last given room, or began to wait with nobody before it. */
  let served = 0;

  function attach(upload: Upload, session: Session): void {
    detach(upload);
    let transfers = bySession.get(session);
    if (transfers === undefined)
      bySession.set(session, (transfers = { uploads: new Set(), ended: new Set() }));
    transfers.uploads.add(upload);
    upload.session = session;
  }

  /** Ends the transfer and keeps what is here. */
  function detach(upload: Upload): void {
    if (upload.session) bySession.get(upload.session)?.uploads.delete(upload);
    waiting.delete(upload);
    upload.session = undefined;
    upload.receiving = undefined;
  }

  function abort({ session, receiving }: Upload, code: string): void {
    if (session === undefined || receiving === undefined) return;
    const { transfer } = receiving;
    bySession.get(session)?.ended.add(transfer);
    session.send({ type: "abort", transfer, code });
  }

  function takeRoom(upload: Upload): void {
    taken += upload.bytes;
    partial.add(upload);
    upload.buffer = free.pop() ?? newPart(upload.bytes);
    upload.measuredAt = performance.now();
    upload.measured = upload.held;
    upload.pace = undefined;
  }

  function newPart(bytes: number): Uint8Array {
    const step = Math.ceil(bytes / 8) * 8;
    if (room === undefined || step * (parts + 1) > room.byteLength) {
      room = new SharedArrayBuffer(Math.max(step, FROM_SYSTEM, Math.min(budgetBytes, ROOM)));
      parts = 0;
    }
    return new Uint8Array(room, step * parts++, bytes);
  }

  function trim(): void {
    if (taken > 0) return;
    room = undefined;
    parts = 0;
    free = [];
  }

  function giveRoomBack(upload: Upload): void {
    if (upload.buffer === undefined) return;
    free.push(upload.buffer);
    upload.buffer = undefined;
    partial.delete(upload);
    taken -= upload.bytes;
    used = performance.now();
  }

  function evict(upload: Upload): void {
    abort(upload, "evicted");
    upload.receiving = undefined;
    upload.held = 0;
    giveRoomBack(upload);
    // To the end of those who wait.
    if (upload.session !== undefined) waiting.add(upload);
    options.evicted(upload.assignment);
  }

  function measure(upload: Upload, now: number): void {
    const time = now - upload.measuredAt;
    if (time < stall) return;
    upload.pace = (1000 * (upload.held - upload.measured)) / time;
    upload.measured = upload.held;
    upload.measuredAt = now;
  }

  /** When an upload will be whole at its pace, which is known. */
  function endOf({ bytes, held, pace = 0 }: Upload, now: number): number {
    return pace < minimumRate ? Infinity : now + (1000 * (bytes - held)) / pace;
  }

  /** One whose room is better given to another, if any is. */
  function givingWay(now: number): Upload | undefined {
    let last: Upload | undefined;
    let end = -Infinity;
    for (const upload of partial) {
      if (upload.session === undefined) return upload;
      measure(upload, now);
      if (upload.pace === undefined || endOf(upload, now) <= end) continue;
      last = upload;
      end = endOf(upload, now);
    }
    const isOverdue = last !== undefined && end > last.due;
    return isOverdue || end === Infinity || now - served > 2 * stall ? last : undefined;
  }

  function hasRoom(bytes: number, now: number): boolean {
    while (taken + bytes > budgetBytes) {
      const victim = givingWay(now);
      if (victim === undefined) return false;
      evict(victim);
    }
    return true;
  }

  function grant(upload: Upload, session: Session): void {
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
    // Not to those who lose their room here.
    let count = waiting.size;
    for (const upload of waiting) {
      if (count-- === 0 || !hasRoom(upload.bytes, now)) return;
      waiting.delete(upload);
      served = now;
      takeRoom(upload);
      grant(upload, upload.session!);
    }
  }

  const find = (session: Session, transfer: number): Upload | undefined => {
    for (const upload of bySession.get(session)?.uploads ?? [])
      if (upload.receiving?.transfer === transfer) return upload;
    return undefined;
  };

  return {
    offer(session, { assignment, sha256, bytes, due }) {
      let upload = uploads.get(assignment);
      if (upload?.whole) return;
      if (upload?.session === session && upload.receiving !== undefined) return;
      if (upload === undefined) {
        upload = {
          assignment,
          sha256,
          bytes,
          due,
          session,
          buffer: undefined,
          held: 0,
          receiving: undefined,
          whole: false,
          measured: 0,
          measuredAt: 0,
          pace: undefined,
        };
        uploads.set(assignment, upload);
      }
      attach(upload, session);
      // An upload cut off by a lost connection still has its memory: resume it.
      if (upload.buffer !== undefined) return grant(upload, session);
      if (waiting.size === 0) served = performance.now();
      waiting.add(upload);
      grantAll();
      if (upload.receiving === undefined)
        session.send({
          type: "wait",
          assignment,
          reason: "Other updates are on their way in.",
        });
    },

    chunk(session, { transfer, offset, bytes }) {
      if (bySession.get(session)?.ended.has(transfer)) return;
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
      measure(upload, performance.now());
      if (ackDue(state)) {
        session.send({ type: "ack", transfer, offset: state.held });
        state = ackSent(state);
      }
      upload.receiving = state;
      if (receivingDone(state)) {
        upload.whole = true;
        upload.receiving = undefined;
        partial.delete(upload);
        options.arrived(upload, upload.buffer);
      }
    },

    aborted(session, transfer) {
      const upload = find(session, transfer);
      if (upload !== undefined) detach(upload);
    },

    sessionClosed(session) {
      for (const upload of bySession.get(session)?.uploads ?? []) detach(upload);
      bySession.delete(session);
      grantAll();
    },

    release(assignment, unread) {
      const upload = uploads.get(assignment);
      if (upload === undefined) return;
      abort(upload, "cancelled");
      detach(upload);
      partial.delete(upload);
      uploads.delete(assignment);
      const freed = () => {
        giveRoomBack(upload);
        grantAll();
      };
      if (unread === undefined) freed();
      else void unread.then(freed, freed);
    },

    sweep(now) {
      grantAll();
      if (now - used > KEEP_BUFFERS) trim();
    },

    trim,

    get taken() {
      return taken;
    },
  };
}
