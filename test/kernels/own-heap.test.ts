import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ownHeap } from "../../runtime/wasm/own-heap.js";

test("parts are aligned, inside the memory and apart from each other, and come back into use", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ bytes: fc.integer({ min: 0, max: 300_000 }) }),
          fc.record({ release: fc.nat() }),
        ),
        { maxLength: 60 },
      ),
      (actions) => {
        const heap = ownHeap(1);
        const open: { address: number; bytes: number }[] = [];
        for (const action of actions) {
          if ("bytes" in action) {
            const { bytes } = action;
            const address = heap.allocate(bytes);
            assert.ok(address > 0 && address % 16 === 0);
            assert.ok(address + bytes <= heap.memory.buffer.byteLength);
            for (const other of open)
              assert.ok(address >= other.address + other.bytes || other.address >= address + bytes);
            open.push({ address, bytes });
          } else if (open.length > 0) {
            const [part] = open.splice(action.release % open.length, 1);
            heap.free(part.address);
          }
        }
        for (const part of open) heap.free(part.address);
        const before = heap.memory.buffer.byteLength;
        heap.allocate(before - 16);
        assert.equal(heap.memory.buffer.byteLength, before, "joined again");
      },
    ),
  );
});

test("an address that was not given out is refused", () => {
  const heap = ownHeap(1);
  const address = heap.allocate(10);
  heap.free(address);
  assert.throws(() => heap.free(address), /expected one that allocate gave/);
});
