import { openDatabase, storedKey } from "./browser-state.js";
import type { Platform, Socket, WorkerPort } from "./platform.js";

/** The platform of a browser tab and of Electron's renderers. */
export const browserPlatform: Platform = {
  openSocket,
  openState: openDatabase,
  identity: storedKey,
  startWorker,
};

function openSocket(url: string): Socket {
  const line = new WebSocket(url);
  line.binaryType = "arraybuffer";
  const socket: Socket = {
    copies: true,
    get bufferedAmount() {
      return line.bufferedAmount;
    },
    send(data) {
      if (line.readyState === WebSocket.OPEN) line.send(data as string | Uint8Array<ArrayBuffer>);
    },
    close(code = 1000, reason = "") {
      // A page may close with 1000 and 3000 to 4999 only.
      line.close(code === 1000 || code >= 3000 ? code : 3000, reason);
    },
  };
  line.onopen = () => socket.onOpen?.();
  line.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) =>
    socket.onMessage?.(typeof data === "string" ? data : new Uint8Array(data));
  line.onclose = ({ code, reason }) => socket.onClose?.(code, reason);
  return socket;
}

function startWorker(): WorkerPort {
  const worker = new Worker(new URL("./browser-worker.js", import.meta.url), {
    type: "module",
  });
  const port: WorkerPort = {
    post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    terminate: () => worker.terminate(),
  };
  worker.onmessage = ({ data }) => port.onMessage?.(data);
  worker.onerror = (event) => {
    // The page's own error handlers are not to hear of it.
    event.preventDefault();
    worker.terminate();
    port.onExit?.(event.message ?? "the worker could not be loaded");
  };
  return port;
}
