import { crc32c } from "../../runtime/crc.js";
import { sha256 } from "../../runtime/platform/node-sha256.js";

/**
 * The form of the journal: a line of magic, then records end to end, each `u32 LE length of the
 * payload | u32 LE CRC-32C of what follows | SHA-256 of the record before | payload`. The CRC finds
 * what a power cut or a bad disk did; the chain of hashes makes sure that nothing was taken out or
 * put in.
 */
export const MAGIC = new TextEncoder().encode("fedflat journal 1\n");
const HEAD = 8 + 32;
/** A payload is JSON of a record, and every one begins like this. */
const OPENING = new TextEncoder().encode('{"type":"');

/** The record's bytes, and its hash for the next one. */
export function frame(
  payload: string,
  previous: Uint8Array,
): { bytes: Uint8Array<ArrayBuffer>; hash: Uint8Array } {
  const encoded = new TextEncoder().encode(payload);
  const bytes = new Uint8Array(HEAD + encoded.length);
  bytes.set(previous, 8);
  bytes.set(encoded, HEAD);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, encoded.length, true);
  view.setUint32(4, crc32c(bytes.subarray(8)), true);
  return { bytes, hash: sha256(bytes) };
}

/** What stands before the first record. */
export const FIRST: Uint8Array = new Uint8Array(32);

interface JournalContent {
  readonly records: readonly {
    readonly payload: string;
    /** Where the record ends in the file. */
    readonly end: number;
    readonly hash: Uint8Array;
  }[];
  /** Bytes of the file that are whole records; what follows is of no use. */
  readonly good: number;
  /**
   * Whole records lie behind the broken place: this is damage, not the torn end of a last write.
   */
  readonly damaged: boolean;
}

/** Reads as many whole records as there are. The file must begin with the magic. */
export function readJournal(file: Uint8Array): JournalContent {
  const records: { payload: string; end: number; hash: Uint8Array }[] = [];
  let at = MAGIC.length;
  let previous = FIRST;
  for (;;) {
    const length = wholeRecordAt(file, at);
    if (length === undefined) break;
    const bytes = file.subarray(at, at + length);
    if (!equal(bytes.subarray(8, HEAD), previous)) break;
    at += length;
    previous = sha256(bytes);
    records.push({
      payload: new TextDecoder().decode(bytes.subarray(HEAD)),
      end: at,
      hash: previous,
    });
  }
  let damaged = false;
  for (let i = at; i < file.length && !damaged; i++) damaged = wholeRecordAt(file, i) !== undefined;
  return { records, good: at, damaged };
}

/** The length of the record that begins there, if a whole one does. */
function wholeRecordAt(file: Uint8Array, at: number): number | undefined {
  if (file.length - at < HEAD + OPENING.length) return undefined;
  if (!equal(file.subarray(at + HEAD, at + HEAD + OPENING.length), OPENING)) return undefined;
  const view = new DataView(file.buffer, file.byteOffset + at, 8);
  const length = HEAD + view.getUint32(0, true);
  if (length > file.length - at) return undefined;
  return crc32c(file.subarray(at + 8, at + length)) === view.getUint32(4, true)
    ? length
    : undefined;
}

const equal = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i]);
