import { ProtocolError } from "../errors.js";

/** The longest binary frame, header included, in bytes. */
export const MAX_FRAME_BYTES = 256 * 1024;
/** u32 LE transfer | u32 zero | u64 LE offset. */
export const CHUNK_HEADER_BYTES = 16;

/** One piece of a blob on its way: a binary frame. */
export interface Chunk {
  readonly transfer: number;
  /** Where in the blob the first byte belongs. */
  readonly offset: number;
  /** At least one byte; a view of the frame. */
  readonly bytes: Uint8Array;
}

/** A binary frame around a copy of `bytes`, in `memory` where it is given and large enough. */
export function encodeChunk(
  { transfer, offset, bytes }: Chunk,
  memory?: ArrayBuffer,
): Uint8Array<ArrayBuffer> {
  const length = CHUNK_HEADER_BYTES + bytes.length;
  const frame =
    memory === undefined || memory.byteLength < length
      ? new Uint8Array(length)
      : new Uint8Array(memory, 0, length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, transfer, true);
  view.setUint32(4, 0, true);
  view.setBigUint64(8, BigInt(offset), true);
  frame.set(bytes, CHUNK_HEADER_BYTES);
  return frame;
}

/** Reads a binary frame. @throws ProtocolError `bad-frame`. */
export function decodeChunk(frame: Uint8Array): Chunk {
  const fail = (expected: string, got: string | number): never => {
    throw new ProtocolError("bad-frame", `"binary frame" expected ${expected}, got ${got}`);
  };
  if (frame.length <= CHUNK_HEADER_BYTES)
    fail(`more than ${CHUNK_HEADER_BYTES} bytes`, frame.length);
  if (frame.length > MAX_FRAME_BYTES) fail(`at most ${MAX_FRAME_BYTES} bytes`, frame.length);
  const view = new DataView(frame.buffer, frame.byteOffset, CHUNK_HEADER_BYTES);
  const transfer = view.getUint32(0, true);
  if (transfer === 0) fail("a transfer above 0", 0);
  if (view.getUint32(4, true) !== 0) fail("zero in bytes 4 to 7", view.getUint32(4, true));
  const offset = Number(view.getBigUint64(8, true));
  if (!Number.isSafeInteger(offset)) fail("an offset below 2^53", offset);
  return { transfer, offset, bytes: frame.subarray(CHUNK_HEADER_BYTES) };
}
