import { once } from "node:events";
import { connect } from "node:net";
import { Worker, isMainThread, workerData } from "node:worker_threads";
import { fileURLToPath } from "node:url";
import { portOf, upgrade } from "./sockets.js";

interface Flood {
  readonly port: number;
  /** What opens the line. */
  readonly opening: string;
  readonly bytes: Uint8Array;
  /** How long the bytes are sent, over and over. */
  readonly milliseconds: number;
  /** Reads nothing. */
  readonly deaf: boolean;
}

/**
 * Opens a WebSocket and sends these bytes over and over, in a thread of its own: the event loop of
 * the aggregator under attack, which is looked at, has nothing to do with the making of them.
 * Resolves when the time is over or the line is closed.
 */
export async function floodWith(
  url: string,
  bytes: Uint8Array,
  milliseconds: number,
  { deaf = false } = {},
): Promise<void> {
  const flood: Flood = {
    port: portOf(url),
    opening: upgrade(url),
    bytes,
    milliseconds,
    deaf,
  };
  const worker = new Worker(fileURLToPath(import.meta.url), {
    workerData: flood,
  });
  await once(worker, "exit");
}

if (!isMainThread) {
  const { port, opening, bytes, milliseconds, deaf } = workerData as Flood;
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  if (!deaf) socket.resume();
  socket.write(opening);
  const end = performance.now() + milliseconds;
  while (performance.now() < end && !socket.destroyed)
    if (!socket.write(bytes))
      await Promise.race([
        once(socket, "drain").catch(() => {}),
        new Promise((resolve) => setTimeout(resolve, 50)),
      ]);
  socket.destroy();
}
