/**
 * So much, in bytes, is taken from the system itself, page by page as it is written to, and goes
 * back there. Less may stay with the process: the C library keeps freed memory of up to 32 MB for
 * later once it has seen some of that size come and go (M_MMAP_THRESHOLD in mallopt(3)), and then
 * there is a hole of every model's size beside the next model.
 */
export const FROM_SYSTEM = 33 * 1024 * 1024;
/** Below this a hole does no harm. */
const SMALL = 1024 * 1024;

/**
 * Zeros, in memory that goes back to the system when it is freed; the buffer may be longer than
 * asked for.
 */
export const take = (bytes: number): ArrayBuffer =>
  new ArrayBuffer(bytes < SMALL ? bytes : Math.max(bytes, FROM_SYSTEM));

/** A copy in such memory. */
export function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(take(bytes.length), 0, bytes.length);
  copy.set(bytes);
  return copy;
}

/**
 * Gives a buffer's memory back, two turns of the event loop later; a holder finds it
 * empty at once. Large vectors would otherwise stay until the engine's next full collection, which
 * comes only after tens of megabytes of them. Shared memory is left alone.
 */
export function release(buffer: ArrayBufferLike): void {
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength === 0) return;
  // A message to a port whose other end is closed takes the memory along and is dropped.
  const { port1, port2 } = new MessageChannel();
  port1.close();
  port2.postMessage(null, [buffer]);
  port2.close();
}
