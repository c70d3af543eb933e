import { measure, type Upload } from "./upload.js";
import { openUploadMemory } from "./upload-memory.js";

/** Memory that nobody uses is kept this long, in milliseconds. */
const KEEP_BUFFERS = 10_000;

/** Gives uploads their room, in the order in which they asked, out of one budget of bytes. */
export interface UploadBudget {
  /** Bytes that are taken. */
  readonly taken: number;
  /** Grants an upload its room, now or when there is some. */
  wait(upload: Upload): void;
  /** The upload waits no more. */
  leave(upload: Upload): void;
  /** The upload is whole, or of no use: it keeps its room, and does not give way any more. */
  settle(upload: Upload): void;
  /** Gives the room of an upload to those who wait. */
  free(upload: Upload): void;
  /** Grants to those who wait, in their order, as far as the budget goes. */
  grantAll(): void;
  /** Lets go of the memory, when no upload is in it. */
  trim(): void;
  /** Checks who has to give way; call it now and then. */
  sweep(now: number): void;
}

export function openUploadBudget(options: {
  readonly budgetBytes: number;
  readonly stall: number;
  readonly minimumRate: number;
  /** The upload, which waited, has its room. */
  readonly grant: (upload: Upload) => void;
  /** The upload is about to lose its room. */
  readonly evict: (upload: Upload) => void;
}): UploadBudget {
  const { budgetBytes, stall, minimumRate } = options;
  const memory = openUploadMemory(budgetBytes);
  const waiting = new Set<Upload>();
  /** Uploads that have room and are not whole. */
  const partial = new Set<Upload>();
  let taken = 0;
  let used = 0;
  /** When one that waited was last given room, or began to wait with nobody before it. */
  let served = 0;

  function take(upload: Upload): void {
    taken += upload.bytes;
    partial.add(upload);
    upload.buffer = memory.take(upload.bytes);
    upload.measuredAt = performance.now();
    upload.measured = upload.held;
    upload.pace = undefined;
  }

  function giveBack(upload: Upload): void {
    if (upload.buffer === undefined) return;
    memory.giveBack(upload.buffer);
    upload.buffer = undefined;
    partial.delete(upload);
    taken -= upload.bytes;
    used = performance.now();
  }

  /** When an upload will be whole at its pace, which is known. */
  const endOf = ({ bytes, held, pace = 0 }: Upload, now: number): number =>
    pace < minimumRate ? Infinity : now + (1000 * (bytes - held)) / pace;

  /** The upload whose room is better given to another, if any is. */
  function givingWay(now: number): Upload | undefined {
    let last: Upload | undefined;
    let end = -Infinity;
    for (const upload of partial) {
      if (upload.session === undefined) return upload;
      measure(upload, stall, now);
      if (upload.pace === undefined || endOf(upload, now) <= end) continue;
      last = upload;
      end = endOf(upload, now);
    }
    const isOverdue = last !== undefined && end > last.due;
    return isOverdue || end === Infinity || now - served > 2 * stall ? last : undefined;
  }

  function evict(upload: Upload): void {
    options.evict(upload);
    upload.held = 0;
    giveBack(upload);
    // To the end of the queue.
    if (upload.session !== undefined) waiting.add(upload);
  }

  function hasRoom(bytes: number, now: number): boolean {
    while (taken + bytes > budgetBytes) {
      const victim = givingWay(now);
      if (victim === undefined) return false;
      evict(victim);
    }
    return true;
  }

  function grantAll(): void {
    const now = performance.now();
    // Not to those that lose their room here.
    let count = waiting.size;
    for (const upload of waiting) {
      if (count-- === 0 || !hasRoom(upload.bytes, now)) return;
      waiting.delete(upload);
      served = now;
      take(upload);
      options.grant(upload);
    }
  }

  function trim(): void {
    if (taken === 0) memory.drop();
  }

  return {
    grantAll,
    trim,
    leave: (upload) => void waiting.delete(upload),
    settle: (upload) => void partial.delete(upload),
    get taken() {
      return taken;
    },
    wait(upload) {
      if (waiting.size === 0) served = performance.now();
      waiting.add(upload);
      grantAll();
    },
    free(upload) {
      giveBack(upload);
      grantAll();
    },
    sweep(now) {
      grantAll();
      if (now - used > KEEP_BUFFERS) trim();
    },
  };
}
