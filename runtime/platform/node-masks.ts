import * as http from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

// A WebSocket client masks what it sends (RFC 6455, section 5.3): byte i of a frame's payload XOR
// byte i mod 4 of the frame's mask. `ws` does so byte by byte where Node has no such function, and
// that took half of an aggregator's time for updates. Importing this file before `ws` puts loops
// that take 32 bytes at a time in the place of those two.

const four = new Uint8Array(4);
const word = new Int32Array(four.buffer);

/** data[i] ^= mask[i mod 4], in place, for data at any address. */
export function unmask(data: Uint8Array, mask: Uint8Array): void {
  const size = data.length;
  if (size < 16) {
    for (let i = 0; i < size; i++) data[i] ^= mask[i & 3];
    return;
  }
  // Whole words begin at the first address that four divides.
  const head = -data.byteOffset & 3;
  for (let i = 0; i < head; i++) data[i] ^= mask[i];
  for (let i = 0; i < 4; i++) four[i] = mask[(head + i) & 3];
  const m = word[0];
  const count = (size - head) >>> 2;
  const words = new Int32Array(data.buffer, data.byteOffset + head, count);
  const eights = count & ~7;
  for (let i = 0; i < eights; i += 8) {
    words[i] ^= m;
    words[i + 1] ^= m;
    words[i + 2] ^= m;
    words[i + 3] ^= m;
    words[i + 4] ^= m;
    words[i + 5] ^= m;
    words[i + 6] ^= m;
    words[i + 7] ^= m;
  }
  for (let i = eights; i < count; i++) words[i] ^= m;
  for (let i = head + 4 * count; i < size; i++) data[i] ^= mask[i & 3];
}

/** output[offset + i] = source[i] ^ mask[i mod 4] for i < length. The output may be the source. */
export function mask(
  source: Uint8Array,
  mask: Uint8Array,
  output: Uint8Array,
  offset: number,
  length: number,
): void {
  output.set(source.subarray(0, length), offset);
  unmask(output.subarray(offset, offset + length), mask);
}

/**
 * Who masks in this process: Node itself, the words above, or `ws` as it came: because somebody
 * loaded it before, because it is part of a bundle, or because it is a version that looks otherwise
 * inside and is left alone.
 */
export const maskedBy: "node" | "words" | "ws" =
  "websocketUnmask" in http ? "node" : putIntoWs() ? "words" : "ws";

function putIntoWs(): boolean {
  try {
    const require = createRequire(import.meta.url);
    const library = join(dirname(require.resolve("ws")), "lib");
    // Both take the functions out of `buffer-util` when they run first. A module that is only read
    // so far is not `loaded`.
    for (const user of ["receiver.js", "sender.js"])
      if (require.cache[join(library, user)]?.loaded) return false;
    const functions: unknown = require(join(library, "buffer-util.js"));
    const takes = (name: string, count: number) =>
      typeof functions === "object" &&
      functions !== null &&
      Reflect.get(functions, name)?.length === count;
    if (!takes("mask", 5) || !takes("unmask", 2)) return false;
    Object.assign(functions as object, { mask, unmask });
    return true;
  } catch {
    return false;
  }
}
