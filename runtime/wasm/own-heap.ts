import type { Heap } from "./kernels.js";

const ALIGNMENT = 16;
const PAGE = 65536;

/**
 * A heap on a memory of its own, for kernels without tfjs (the aggregator's fold, tests). First fit over a sorted list of free parts,
 * neighbours joined; the memory grows by need and never shrinks. Address 0 is never given out.
 * @throws RangeError from `allocate` when the memory cannot grow any more.
 */
export function ownHeap(initialBytes: number): Heap {
  const memory = new WebAssembly.Memory({
    initial: Math.max(1, Math.ceil(initialBytes / PAGE)),
    maximum: 65536,
  });
  const taken = new Map<number, number>();
  let free = [{ address: ALIGNMENT, size: memory.buffer.byteLength - ALIGNMENT }];

  function give(address: number, size: number): void {
    const parts = [...free, { address, size }].sort((a, b) => a.address - b.address);
    free = [];
    for (const part of parts) {
      const before = free.at(-1);
      if (before && before.address + before.size === part.address) before.size += part.size;
      else free.push(part);
    }
  }

  return {
    memory,
    allocate(bytes) {
      const size = Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
      let part = free.find((candidate) => candidate.size >= size);
      if (!part) {
        const end = memory.buffer.byteLength;
        const last = free.at(-1);
        const atEnd = last && last.address + last.size === end ? last.size : 0;
        const pages = Math.ceil((size - atEnd) / PAGE);
        memory.grow(pages);
        give(end, pages * PAGE);
        part = free.at(-1)!;
      }
      const { address } = part;
      part.address += size;
      part.size -= size;
      if (part.size === 0) free = free.filter((other) => other !== part);
      taken.set(address, size);
      return address;
    },
    free(address) {
      const size = taken.get(address);
      if (size === undefined)
        throw new RangeError(`"address" expected one that allocate gave out, got ${address}`);
      taken.delete(address);
      give(address, size);
    },
  };
}
