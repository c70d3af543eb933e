/**
 * Gives a buffer's memory back at once; whoever still holds it finds it empty. Large vectors would otherwise stay until the
 * engine's next full collection, which comes only after tens of megabytes of them. Shared memory is left alone.
 */
export function release(buffer: ArrayBufferLike): void {
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength === 0) return;
  // A message to a port whose other end is closed takes the memory along and is dropped.
  const { port1, port2 } = new MessageChannel();
  port1.close();
  port2.postMessage(null, [buffer]);
  port2.close();
}
