import { ModelError } from "../../runtime/errors.js";
import {
  foldFromBytes,
  foldToBytes,
  mergeInto,
  requireMergeable,
  type RoundFold,
} from "./exact-sum.js";

// What one process has folded of a round, as bytes: its folds one after the other, each behind its
// length (u64, little endian). All lengths are multiples of eight, so the sums can be read in place.

/** Bytes of a length. */
const LENGTH = 8;

/** @param folds of the updates, and of their running values where these are averaged */
export function partialToBytes(folds: readonly RoundFold[]): Uint8Array<ArrayBuffer> {
  const files = folds.map(foldToBytes);
  const bytes = new Uint8Array(files.reduce((sum, { length }) => sum + LENGTH + length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const file of files) {
    view.setBigUint64(at, BigInt(file.length), true);
    bytes.set(file, at + LENGTH);
    at += LENGTH + file.length;
  }
  return bytes;
}

/**
 * Adds to these folds, in place, what another process has folded of the same round.
 * @throws ModelError `fold` or `safetensors`, with nothing changed, where the bytes are no such
 * folds, or these do not merge
 */
export function mergePartial(folds: readonly RoundFold[], bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  const others = folds.map((fold) => {
    const left = bytes.length - at - LENGTH;
    const length = left < 0 ? 0 : Number(view.getBigUint64(at, true));
    if (length > left) throw new ModelError("fold", `"partial" expected more bytes, got its end`);
    const other = foldFromBytes(bytes.subarray(at + LENGTH, at + LENGTH + length));
    requireMergeable(fold, other);
    at += LENGTH + length;
    return other;
  });
  if (at !== bytes.length)
    throw new ModelError("fold", `"partial" expected ${at} bytes, got ${bytes.length}`);
  folds.forEach((fold, i) => mergeInto(fold, others[i]));
}
