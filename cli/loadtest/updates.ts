import { createHash } from "node:crypto";
import type { BlobSource } from "../../runtime/connection/connection.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import { random } from "../../runtime/tensors/random.js";

/**
 * An update that can be offered: its name, and its bytes from any offset, made when they are sent.
 */
export interface Update {
  readonly sha256: string;
  readonly bytes: number;
  readonly source: BlobSource;
}

/** Bytes that are drawn as one piece. */
const BLOCK = 32 * 1024;
/** Random float32 that all updates are cut from. */
const POOL = 1024 * 1024;

/**
 * Makes updates of small random numbers (up to `scale` in size), each different by its seed,
 * without ever holding one: every block is a piece of one pool, and the seed says which. `source`
 * gives a view that is good until the next call.
 */
export function randomUpdates(scale = 1e-3) {
  const chance = random("fedflat load test");
  const pool = new Uint8Array(
    Float32Array.from({ length: POOL / 4 }, () => scale * chance.normal()).buffer,
  );
  let scratch = new Uint8Array(256 * 1024);

  return (
    { header, bytes }: { readonly header: Uint8Array; readonly bytes: number },
    seed: number,
    /** Takes the place of the first number. */
    first?: number,
  ): Update => {
    const start = header.slice();
    const poison = first === undefined ? undefined : new Uint8Array(Float32Array.of(first).buffer);
    const source: BlobSource = (offset, length) => {
      if (scratch.length < length) scratch = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const at = offset + done;
        let piece: Uint8Array;
        if (at < start.length) piece = start.subarray(at);
        else {
          const block = Math.floor((at - start.length) / BLOCK);
          const within = (at - start.length) % BLOCK;
          const from = 4 * ((mix(seed, block) >>> 0) % ((POOL - BLOCK) / 4)) + within;
          piece = pool.subarray(from, from + BLOCK - within);
        }
        if (piece.length > length - done) piece = piece.subarray(0, length - done);
        scratch.set(piece, done);
        done += piece.length;
      }
      poison?.forEach((byte, i) => {
        const at = start.length + i - offset;
        if (at >= 0 && at < length) scratch[at] = byte;
      });
      return scratch.subarray(0, length);
    };
    return { sha256: hashOf(source, bytes), bytes, source };
  };
}

/** Scrambles two numbers into 32 bits (the finaliser of MurmurHash3). */
function mix(a: number, b: number): number {
  let x = Math.imul(a ^ Math.imul(b + 1, 0x9e3779b1), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

function hashOf(source: BlobSource, bytes: number): string {
  const hash = createHash("sha256");
  for (let offset = 0; offset < bytes; offset += 65536)
    hash.update(source(offset, Math.min(65536, bytes - offset)));
  return hash.digest("hex");
}

/** An update with more bytes behind it. */
export function followed({ bytes, source }: Update, behind: Uint8Array): Update {
  const both: BlobSource = (offset, length) => {
    const first = Math.max(0, Math.min(length, bytes - offset));
    if (first === length) return source(offset, length);
    const from = offset + first - bytes;
    const rest = behind.subarray(from, from + length - first);
    return first === 0 ? rest : Uint8Array.from([...source(offset, first), ...rest]);
  };
  const whole = bytes + behind.length;
  return { sha256: hashOf(both, whole), bytes: whole, source: both };
}

/** An update that lies in memory: recorded, or just trained. */
export const wholeUpdate = (bytes: Uint8Array, sha256 = sha256Hex(bytes)): Update => ({
  sha256,
  bytes: bytes.length,
  source: (offset, length) => bytes.subarray(offset, offset + length),
});
