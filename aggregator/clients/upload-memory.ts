import { FROM_SYSTEM } from "../../runtime/tensors/memory.js";

/** The most memory for uploads that is taken at a time, in bytes. */
const ROOM = 64 * 1024 * 1024;

/**
 * Memory for uploads: shared, so that a worker can read it where it is, and taken over by the next
 * upload. To free and allocate as much for each one would keep several times the budget waiting for
 * the garbage collector.
 */
export interface UploadMemory {
  /** Room for one more upload. @param bytes the same for all uploads of a run */
  take(bytes: number): Uint8Array;
  /** Gives back what was taken. */
  giveBack(buffer: Uint8Array): void;
  /** Lets go of the memory, when no upload is in it. */
  drop(): void;
}

export function openUploadMemory(budgetBytes: number): UploadMemory {
  /** Uploads lie in it end to end. */
  let room: SharedArrayBuffer | undefined;
  /** Buffers of it that were made, and those of them that nobody uses now. */
  let made = 0;
  let free: Uint8Array[] = [];

  function newBuffer(bytes: number): Uint8Array {
    const step = Math.ceil(bytes / 8) * 8;
    if (room === undefined || step * (made + 1) > room.byteLength) {
      room = new SharedArrayBuffer(Math.max(step, FROM_SYSTEM, Math.min(budgetBytes, ROOM)));
      made = 0;
    }
    return new Uint8Array(room, step * made++, bytes);
  }

  return {
    take: (bytes) => free.pop() ?? newBuffer(bytes),
    giveBack: (buffer) => void free.push(buffer),
    drop() {
      room = undefined;
      made = 0;
      free = [];
    },
  };
}
