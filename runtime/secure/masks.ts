import type { Bytes } from "./keys.js";

/** Numbers of a mask that are made at a time. */
const PIECE = 2 ** 18;

/**
 * Adds a mask to numbers of Z_2^32, in place, or takes it off: the keystream of AES-256-CTR from a
 * zero block, read as little-endian words, one stream over all the numbers.
 */
export async function addMask(sum: Uint32Array, key: Bytes, sign: 1 | -1): Promise<void> {
  const aes = await crypto.subtle.importKey("raw", key, "AES-CTR", false, ["encrypt"]);
  const zeros = new Uint8Array(4 * Math.min(PIECE, sum.length));
  for (let from = 0; from < sum.length; from += PIECE) {
    const count = Math.min(PIECE, sum.length - from);
    const counter = new Uint8Array(16);
    new DataView(counter.buffer).setUint32(12, from / 4);
    const algorithm = { name: "AES-CTR", counter, length: 64 };
    const stream = await crypto.subtle.encrypt(algorithm, aes, zeros.subarray(0, 4 * count));
    add(sum.subarray(from, from + count), new Uint32Array(stream), sign);
  }
}

/** By itself: in a function that awaits, the loop takes twice as long as the cipher. */
function add(sum: Uint32Array, words: Uint32Array, sign: 1 | -1): void {
  if (sign > 0) for (let i = 0; i < sum.length; i++) sum[i] += words[i];
  else for (let i = 0; i < sum.length; i++) sum[i] -= words[i];
}
